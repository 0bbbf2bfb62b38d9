/**
 * A page that shows what the models cost as it changes, stops them, and shows what they print: {@link createDashboardRouter}
 * makes the router that serves it.
 *
 * @module express-backend-monitor/dashboard
 */
export { createDashboardRouter, type DashboardRouterOptions } from "./router.js";
