import LockDB = require("../dist/index.js");
export = LockDB;
