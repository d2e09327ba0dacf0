export { networkList } from "./addresses.js";
export type { PageQuery } from "./delivery-log.js";
export { OLD_KEPT_MS_DEFAULT } from "./secrets.js";
export { type DeliveryInfo, Webhooks, type WebhooksOptions } from "./webhooks.js";
