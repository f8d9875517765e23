/**
 * A node in one process tree that speaks the real protocols over real sockets, and misbehaves on
 * request. It is the demo's stage and the tests'; no part of the agent knows it.
 *
 * @module
 */
export { runSimDaemon, serveSimNydusd } from "./daemon_process.ts";
export type { SimPluginSettings } from "./plugin.ts";
export type { Fault } from "./raw_http.ts";
export type { SimDialect } from "./refusals.ts";
export { SimRegistry, type SimRegistryCall, type SimRegistrySettings } from "./registry.ts";
export { type SimBackend, SimDaemon, type SimInstance } from "./sim_daemon.ts";
export { type NewDaemon, type NodeRead, SimNode, type SimNodeOptions } from "./sim_node.ts";
export { SimNydusd, type SimNydusdSpec } from "./sim_nydusd.ts";
export type { SimMountSpec, SimRead } from "./sim_read.ts";
export { SimSnapshotter, type SnapshotterFault } from "./snapshotter.ts";
