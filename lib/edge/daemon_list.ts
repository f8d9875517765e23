import {
  type PeerResult,
  Secret,
  type SnapshotterDaemon,
  type UnixHttpResult,
} from "../model/mod.ts";
import { peerResult, record, string } from "./peer.ts";

type Instances = SnapshotterDaemon["instances"];

/** Where the mounts of one daemon stand in the text of a list, and what was read there. */
interface Piece {
  readonly start: number;
  readonly end: number;
  readonly instances: Instances;
}

/** The text of a list, and its pieces by how they begin. */
interface Text {
  readonly text: string;
  readonly pieces: ReadonlyMap<string, Piece>;
}

/** A list without its pieces: a number stands in the place of each. */
interface Cut extends Text {
  readonly rest: string;
  readonly cut: readonly Instances[];
}

const KEY = '"instances":';
/** The first mount's id is in it, which no other daemon has. */
const HEAD_LENGTH = 64;

/**
 * Reads the lists of the system API. Mounts are nearly all of a list and mostly the same as before,
 * beside figures that never are and in an order that changes: what stands in the same words as
 * before is not read again.
 */
export class DaemonListReader {
  readonly #texts = new WeakMap<readonly SnapshotterDaemon[], Text>();

  /** @param before The list before: its `instances` are given again where they are the same. */
  read(
    result: UnixHttpResult,
    before?: readonly SnapshotterDaemon[],
  ): PeerResult<readonly SnapshotterDaemon[]> {
    if (result.kind !== "answered") return peerResult(result, readDaemons);
    const cut = cutPieces(result.body.reveal(), before && this.#texts.get(before));
    if (cut === undefined) return peerResult(result, readDaemons);
    const rest = { ...result, body: new Secret(cut.rest) };
    const answer = peerResult(rest, (body) => readDaemons(body, cut.cut));
    if (answer.kind === "ok") this.#texts.set(answer.value, cut);
    return answer;
  }
}

/** Undefined for a text that is not as Go writes it: it is to be read as a whole. */
function cutPieces(text: string, before: Text | undefined): Cut | undefined {
  const pieces = new Map<string, Piece>();
  const cut: Instances[] = [];
  let rest = "";
  let from = 0;
  for (let at = text.indexOf(`${KEY}{`); at >= 0; at = text.indexOf(`${KEY}{`, from)) {
    const start = at + KEY.length;
    const head = text.slice(start, start + HEAD_LENGTH);
    const piece = sameAgain(text, start, before, before?.pieces.get(head)) ?? pieceAt(text, start);
    if (piece === undefined) return undefined;
    pieces.set(head, piece);
    rest += text.slice(from, start) + cut.length;
    cut.push(piece.instances);
    from = piece.end;
  }
  return { text, pieces, rest: rest + text.slice(from), cut };
}

function sameAgain(
  text: string,
  start: number,
  before: Text | undefined,
  known: Piece | undefined,
): Piece | undefined {
  if (before === undefined || known === undefined) return undefined;
  const end = start + known.end - known.start;
  const isSame = text.slice(start, end) === before.text.slice(known.start, known.end);
  return isSame ? { start, end, instances: known.instances } : undefined;
}

/** No beginning of a JSON object is one itself: what can be read up to here is the whole. */
function pieceAt(text: string, start: number): Piece | undefined {
  const end = text[start + 1] === "}" ? start + 2 : text.indexOf("}}", start) + 2;
  try {
    return { start, end, instances: readInstances(JSON.parse(text.slice(start, end))) };
  } catch {
    return undefined;
  }
}

function readDaemons(
  body: unknown,
  cut: readonly Instances[] = [],
): readonly SnapshotterDaemon[] | undefined {
  if (body === null) return []; // Go's empty list
  if (!Array.isArray(body)) return undefined;
  const daemons = body.map((daemon) => readDaemon(daemon, cut));
  return daemons.every((daemon) => daemon !== undefined) ? daemons : undefined;
}

function readDaemon(body: unknown, cut: readonly Instances[]): SnapshotterDaemon | undefined {
  const daemon = record(body);
  const id = string(daemon?.["id"]);
  const apiSocket = string(daemon?.["api_socket"]);
  if (daemon === undefined || id === undefined || apiSocket === undefined) return undefined;
  const { pid, instances } = daemon;
  return {
    id,
    apiSocket,
    pid: typeof pid === "number" ? pid : 0,
    instances: (typeof instances === "number" ? cut[instances] : undefined) ??
      readInstances(instances),
  };
}

function readInstances(body: unknown): Instances {
  return Object.entries(record(body) ?? {}).map(([key, value]) => {
    const instance = record(value);
    return {
      snapshotId: string(instance?.["snapshot_id"]) ?? key,
      imageId: string(instance?.["image_id"]) ?? "",
    };
  });
}
