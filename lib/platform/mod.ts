/**
 * Clocks, files, processes and sockets. With the simulator, this is the only package that uses the
 * operating system; the other packages receive these ports as parameters.
 *
 * @module
 */
export { type ByteProxy, serveByteProxy } from "./byte_proxy.ts";
export {
  copyProgram,
  isMemoryBacked,
  makeFolder,
  pointLink,
  readLink,
  removeFile,
  removeTemporaryFiles,
  sameContent,
  systemFiles,
} from "./files.ts";
export {
  type Context,
  type Host,
  type HostSignal,
  systemClock,
  systemHost,
  systemRandom,
} from "./host.ts";
export { type Handler, listenTcp, listenUnix } from "./http_server.ts";
export { createKubeHttp, createRegistryHttp } from "./https_clients.ts";
export { listensOn } from "./listeners.ts";
export { createNotifier, type Notifier } from "./notify.ts";
export { createNydusdApi, createSnapshotterApi } from "./nydus_api.ts";
export { systemProcessRunner } from "./process.ts";
export { createUnixHttp } from "./unix_http.ts";
