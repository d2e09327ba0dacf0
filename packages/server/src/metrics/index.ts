export { metricsPage } from "./page.js";
export { ProcessMeter } from "./process-meter.js";
export type { ClusterMeter, Sources } from "./sources.js";
export { METRICS } from "./table.js";
export { METRICS_TYPE, metricsText } from "./text.js";
