module.exports = require("../dist/guards/index.js");
