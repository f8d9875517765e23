/**
 * Clocks, files, processes and sockets. With the simulator it is the only package that touches the
 * operating system; all others are given ports.
 *
 * @module
 */
export { type ByteProxy, serveByteProxy } from "./byte_proxy.ts";
export { systemClock } from "./clock.ts";
export { freePort, startCompanion, writePrivateText } from "./companion.ts";
export type { Context } from "./context.ts";
export { removeTemporaryFiles, systemFiles } from "./files.ts";
export { type Host, type HostSignal, systemHost } from "./host.ts";
export type { Handler } from "./http_server.ts";
export { systemInstallFiles } from "./install_files.ts";
export { createKubeHttp } from "./kube_http.ts";
export { listensOn, pointLink, readLink, removeFile } from "./links.ts";
export { listenTcp, listenUnix } from "./listeners.ts";
export { isMemoryBacked } from "./memory_backed.ts";
export { createNotifier, type Notifier } from "./notify.ts";
export { createNydusdApi } from "./nydusd_api.ts";
export { systemProcessRunner } from "./process.ts";
export { systemRandom } from "./random.ts";
export { createRegistryHttp } from "./registry_http.ts";
export { createSnapshotterApi } from "./snapshotter_api.ts";
export { createUnixHttp } from "./unix_http.ts";
