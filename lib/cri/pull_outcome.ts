import type { PullOutcome } from "./pull.ts";

const OK = "0";
const PERMISSION_DENIED = "7";
const UNAUTHENTICATED = "16";

/**
 * The words with which registries and runtimes refuse a credential. containerd answers most of
 * them with the code `UNKNOWN`, so the text is all there is. "permission denied" is not among them:
 * that is the file system speaking.
 */
const REFUSAL = new RegExp(
  [
    "\\b40[13] (?:unauthorized|forbidden)\\b",
    "\\bstatus(?: code)?:? 40[13]\\b",
    "\\bunauthorized:",
    "\\bauthorization failed\\b",
    "\\bauthentication required\\b",
    "\\binsufficient_scope\\b",
    "\\bpull access denied\\b",
    "\\baccess to the resource is denied\\b",
    "\\bno basic auth credentials\\b",
    "\\bincorrect username or password\\b",
  ].join("|"),
  "i",
);
const MAX_SEARCHED = 64 * 1_024;

/**
 * What a call's trailers say of its credential. `refused` only where the registry spoke: another
 * failure proves nothing. The message is looked at and kept nowhere.
 */
export function outcomeOf(grpcStatus: string, grpcMessage: string): PullOutcome["kind"] {
  if (grpcStatus === OK) return "succeeded";
  if (grpcStatus === UNAUTHENTICATED || grpcStatus === PERMISSION_DENIED) return "refused";
  return REFUSAL.test(grpcMessage.slice(-MAX_SEARCHED)) ? "refused" : "failed";
}
