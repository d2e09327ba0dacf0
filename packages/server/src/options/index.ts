export { exampleConfig, optionsPage } from "./page.js";
export { configObject, configText } from "./print.js";
export { isLoopback, type OptionSource, type ReadOptions, readOptions, withDefaults } from "./read.js";
export { CONFIG_OPTION, OPTIONS, type OptionRow, type ServeOptions } from "./table.js";
