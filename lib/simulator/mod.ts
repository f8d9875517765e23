/**
 * A simulated container node with the real protocols over real sockets, and with faults on request.
 * For the demo and the tests; the agent does not depend on it.
 *
 * @module
 */
export { runSimDaemon, serveSimNydusd } from "./daemon_process.ts";
export { demo } from "./demo.ts";
export type { SimPluginSettings } from "./node_files.ts";
export type { Fault } from "./nydusd_http.ts";
export type { SimDialect } from "./refusals.ts";
export { freePort } from "./ports.ts";
export { SimRegistry, type SimRegistryCall, type SimRegistrySettings } from "./registry.ts";
export { type SimBackend, SimDaemon, type SimInstance } from "./sim_daemon.ts";
export { type NewDaemon, type NodeRead, SimNode, type SimNodeOptions } from "./sim_node.ts";
export { SimNydusd, type SimNydusdSpec } from "./sim_nydusd.ts";
export type { SimMountSpec, SimRead } from "./sim_read.ts";
export { SimSnapshotter, type SnapshotterFault } from "./snapshotter.ts";
