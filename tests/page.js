// Prints a page that is made of a table in code, from the build: node tests/page.js configuration > docs/configuration.md
import { exitCodesPage } from "../packages/lockdb/dist/cli/exit-codes.js";
import { exampleConfig, optionsPage } from "../packages/server/dist/index.js";
import { apiPage } from "./docs/api-page.js";

const PAGES = {
  api: apiPage,
  configuration: optionsPage,
  example: exampleConfig,
  "exit-codes": exitCodesPage,
};

const page = PAGES[process.argv[2]];
if (page === undefined) throw new Error(`Say which page: ${Object.keys(PAGES).join(", ")}.`);
process.stdout.write(page());
