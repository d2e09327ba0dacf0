module.exports = require("../dist/protocol/index.js");
