export { networkList } from "./addresses.js";
export type { PageQuery } from "./delivery-log.js";
export { type DeliveryInfo, Webhooks, type WebhooksOptions } from "./webhooks.js";
