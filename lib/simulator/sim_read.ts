import { Deadline } from "../model/mod.ts";

/** One mount of a simulated nydusd. */
export interface SimMountSpec {
  /** `/` or `/<snapshotID>`. */
  readonly mountId: string;
  readonly snapshotId: string;
  readonly configPath: string;
  /** Digest of the blob that its reads ask for. */
  readonly blob: string;
}

/** What one read through a mount came to. */
export interface SimRead {
  readonly mountId: string;
  readonly snapshotId: string;
  readonly ok: boolean;
  /** The registry's status; 0 when it was not reached. */
  readonly status: number;
  /** What a nydusd of this version writes into its log then; empty when all is well. */
  readonly said: string;
}

/** What of a configuration file says where a mount reads from. */
export interface Backend {
  readonly scheme?: string;
  readonly host: string;
  readonly repo: string;
  readonly mirrors?: readonly { readonly host: string }[];
  readonly proxy?: { readonly url: string };
}

/** A mount, and what has been read through it. */
export interface Mount {
  readonly spec: SimMountSpec;
  readonly backend: Backend;
  /** What the backend really uses, which lags behind what is stored. */
  inUse: string;
  reads: number;
  errors: number;
}

const READ_TIMEOUT_MS = 5_000;

/** Whether it is a nydusd before 2.4: it has other words, and no configuration API. */
export function isOlder(version: string): boolean {
  return /^2\.[0-3]\./.test(version);
}

/** Asks what stands before the registry first: mirrors (older versions), or a proxy. */
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
  const asked = [...mirrors.map((mirror) => bare(mirror.host)), proxy ? bare(proxy.url) : host];
  let outcome: Outcome = { status: 0, said: "" };
  for (const one of asked) {
    outcome = await readFrom(`http://${hosts[one] ?? one}`, { repo, blob }, mount.inUse, version);
    if (outcome.status === 200) break;
  }
  mount.reads++;
  if (outcome.status !== 200) mount.errors++;
  return { mountId, snapshotId, ...outcome, ok: outcome.status === 200 };
}

interface Outcome {
  readonly status: number;
  readonly said: string;
}

/** The status; 0 when the host is not reached, which is an error like any other. */
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
      if (!token.ok) return { status: token.status, said: noToken(token, version) };
      answer = await get(url, `Bearer ${JSON.parse(token.body).token}`);
    } else if (answer.status === 401 && auth === "" && isOlder(version)) {
      return { status: 401, said: "invalid auth config" };
    }
    return { status: answer.status, said: answer.ok ? "" : refused(answer, url, version) };
  } catch {
    return { status: 0, said: "failed to issue request, error sending request" };
  }
}

/** From 2.4 on the registry's own words, and not its status. */
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
