/**
 * Which RAFS instances live on this node, and how each nydusd is. A room of its own because three
 * sources disagree in their own ways, and none of them may hold up or break the others.
 *
 * @module
 */
export { ApprovedHosts, type ApprovedHostsOptions } from "./approved_hosts.ts";
export { Discovery, type DiscoveryOptions } from "./discovery.ts";
export type { ConfiguredSocket } from "./listed.ts";
export { environmentNames, findProcesses, type FoundProcess } from "./processes.ts";
