/**
 * Discovers the live RAFS instances on the node and the state of each nydusd. Sources that fail or
 * disagree do not delay or break the others.
 *
 * @module
 */
export { ApprovedHosts, type ApprovedHostsOptions } from "./approved_hosts.ts";
export { Discovery, type DiscoveryOptions } from "./discovery.ts";
