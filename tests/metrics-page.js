// Prints docs/metrics.md, from the build.
import { metricsPage } from "../packages/server/dist/metrics/index.js";

process.stdout.write(metricsPage());
