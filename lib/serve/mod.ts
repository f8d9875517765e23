/**
 * For other programs on the node: what the agent reads from them and answers to them. The CRI tap
 * reads along while kubelet and containerd speak, because a pull request is the only place where
 * some credentials are ever seen; reading must never be able to hurt the one who is read.
 *
 * @module
 */
export { CRI_NOTES, type CriNote, type LostReason, type SkipReason } from "./cri/notes.ts";
export type { PodIdentity, PullOutcome, PullTicket, SeenPull } from "./cri/pull.ts";
export { PullBook, type PullBookOptions, type PullChange } from "./cri/pull_book.ts";
export { createCriReader, type CriConnectionReader, type CriReaderOptions } from "./cri/reader.ts";
export type { ApiOptions } from "./api/app.ts";
export { openApi } from "./api/open_api.ts";
export type {
  ApiAgent,
  ApiCredential,
  ApiLife,
  ApiLogLevel,
  ApiPut,
  ApiQuestion,
  ApiRenewed,
  ApiTarget,
} from "./api/port.ts";
