export * from "../dist/guards/index.js";
