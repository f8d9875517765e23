import { Deadline } from "../model/mod.ts";

/** One mount of a simulated nydusd. */
export interface SimMountSpec {
  /** `/` or `/<snapshotID>`. */
  readonly mountId: string;
  readonly snapshotId: string;
  readonly configPath: string;
  /** Digest of the blob that is read. */
  readonly blob: string;
}

/** The result of one read through a mount. */
export interface SimRead {
  readonly mountId: string;
  readonly snapshotId: string;
  readonly ok: boolean;
  /** The registry's status; 0 if it was unreachable. */
  readonly status: number;
  /** Log lines of this version of nydusd about a failure; empty on success. */
  readonly log: string;
}

/** The backend section of a configuration file. */
export interface Backend {
  readonly scheme?: string;
  readonly host: string;
  readonly repo: string;
  readonly mirrors?: readonly { readonly host: string }[];
  readonly proxy?: { readonly url: string };
}

/** A mount and its read counters. */
export interface Mount {
  readonly spec: SimMountSpec;
  readonly backend: Backend;
  /** The credential that the backend uses; may be older than the stored one. */
  inUse: string;
  reads: number;
  errors: number;
}

const READ_TIMEOUT_MS = 5_000;

/** Whether a version is before 2.4: it has other log lines and no configuration API. */
export function isOlder(version: string): boolean {
  return /^2\.[0-3]\./.test(version);
}

/** Reads a blob from the mirrors (older versions), then from the proxy or the registry. */
export async function readThrough(
  mount: Mount,
  { hosts, version }: {
    readonly hosts: Readonly<Record<string, string>>;
    readonly version: string;
  },
): Promise<SimRead> {
  const { spec: { mountId, snapshotId, blob }, backend: { host, repo, mirrors = [], proxy } } =
    mount;
  const bare = (url: string) => url.replace(/^[a-z]+:\/\//, "").replace(/\/$/, "");
  const candidates = [
    ...mirrors.map((mirror) => bare(mirror.host)),
    proxy ? bare(proxy.url) : host,
  ];
  let outcome: Outcome = { status: 0, log: "" };
  for (const one of candidates) {
    outcome = await readFrom(`http://${hosts[one] ?? one}`, { repo, blob }, mount.inUse, version);
    if (outcome.status === 200) break;
  }
  mount.reads++;
  if (outcome.status !== 200) mount.errors++;
  return { mountId, snapshotId, ...outcome, ok: outcome.status === 200 };
}

interface Outcome {
  readonly status: number;
  readonly log: string;
}

/** Reads a blob from one host; status 0 if it is unreachable. */
async function readFrom(
  server: string,
  { repo, blob }: { readonly repo: string; readonly blob: string },
  auth: string,
  version: string,
): Promise<Outcome> {
  try {
    const url = `${server}/v2/${repo}/blobs/${blob}`;
    const basic = auth === "" ? undefined : `Basic ${auth}`;
    let answer = await get(url, basic);
    const challenge = answer.headers.get("www-authenticate") ?? "";
    const realm = /^Bearer realm="([^"]+)"/.exec(challenge);
    if (answer.status === 401 && realm !== null) {
      const scope = encodeURIComponent(`repository:${repo}:pull`);
      const token = await get(`${realm[1]}?scope=${scope}`, basic);
      if (!token.ok) return { status: token.status, log: noToken(token, version) };
      answer = await get(url, `Bearer ${JSON.parse(token.body).token}`);
    } else if (answer.status === 401 && auth === "" && isOlder(version)) {
      return { status: 401, log: "invalid auth config" };
    }
    return { status: answer.status, log: answer.ok ? "" : refused(answer, url, version) };
  } catch {
    return { status: 0, log: "failed to issue request, error sending request" };
  }
}

/** Returns the log lines for a refusal. From 2.4 on they contain the registry's text, not its status. */
function refused({ status, body }: GetAnswer, url: string, version: string): string {
  return isOlder(version)
    ? `The redirected link has expired: ${url}, status ${status}, will retry read\n` +
      `failed to access blob from registry, no more retry, status ${status}`
    : `failed to issue request, network error, ${body}`;
}

function noToken({ status, body }: GetAnswer, version: string): string {
  return isOlder(version)
    ? `authorized error, status ${status}`
    : `failed to request registry auth server by POST method: ErrorWithMsg(${
      JSON.stringify(body)
    })\nretry http GET method to get auth token`;
}

interface GetAnswer {
  readonly ok: boolean;
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

async function get(url: string, authorization: string | undefined): Promise<GetAnswer> {
  using deadline = new Deadline(READ_TIMEOUT_MS);
  const response = await fetch(url, {
    headers: authorization === undefined ? {} : { authorization },
    signal: deadline.signal,
  });
  const { ok, status, headers } = response;
  return { ok, status, headers, body: await response.text() };
}
