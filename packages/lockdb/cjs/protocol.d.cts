export * from "../dist/protocol/index.js";
