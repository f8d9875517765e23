/**
 * The outside: clocks, files, processes, sockets. With the simulated node it is the only room that
 * touches the operating system; everyone else is given ports.
 *
 * @module
 */
export { type ByteTap, serveByteTap } from "./byte_tap.ts";
export { systemClock } from "./clock.ts";
export { freePort, startCompanion, writePrivateText } from "./companion.ts";
export { removeTemporaryFiles, systemFiles } from "./files.ts";
export { type Host, type HostSignal, systemHost } from "./host.ts";
export { createNotifier, type Notifier } from "./notify.ts";
export { systemInstallFiles } from "./install_files.ts";
export { createKubeHttp } from "./kube_http.ts";
export { listensOn, pointLink, readLink, removeFile } from "./links.ts";
export { type Handler } from "./http_server.ts";
export { listenTcp, listenUnix } from "./listeners.ts";
export { isMemoryBacked } from "./memory_backed.ts";
export { createNydusdApi } from "./nydusd_api.ts";
export { systemProcessRunner } from "./process.ts";
export { systemRandom } from "./random.ts";
export { createRegistryHttp } from "./registry_http.ts";
export { createSnapshotterApi } from "./snapshotter_api.ts";
export { createUnixHttp } from "./unix_http.ts";
