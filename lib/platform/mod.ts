/**
 * Clocks, files, processes and sockets. With the simulator, this is the only package that uses the
 * operating system; the other packages receive these ports as parameters.
 *
 * @module
 */
export { type ByteProxy, serveByteProxy } from "./byte_proxy.ts";
export { systemClock, systemRandom } from "./clock.ts";
export {
  isMemoryBacked,
  pointLink,
  readLink,
  removeFile,
  writePrivateText,
} from "./file_operations.ts";
export { removeTemporaryFiles, systemFiles } from "./files.ts";
export { type Context, type Host, type HostSignal, systemHost } from "./host.ts";
export type { Handler } from "./http_server.ts";
export { type InstallFiles, systemInstallFiles } from "./install_files.ts";
export { createKubeHttp } from "./kube_http.ts";
export { freePort, listensOn, listenTcp, listenUnix } from "./listeners.ts";
export { createNotifier, type Notifier } from "./notify.ts";
export { createNydusdApi, createSnapshotterApi } from "./nydus_api.ts";
export { startCompanion, systemProcessRunner } from "./process.ts";
export { createRegistryHttp } from "./registry_http.ts";
export { createUnixHttp } from "./unix_http.ts";
