/** One challenge of a `WWW-Authenticate` header. */
export interface Challenge {
  /** The scheme, in lower case. */
  readonly scheme: string;
  /** Parameters by name in lower case; the first of a name counts. */
  readonly params: ReadonlyMap<string, string>;
  /** What stands in place of parameters in some schemes. */
  readonly token68?: string;
}

const MAX_HEADER = 16 * 1024;
const MAX_CHALLENGES = 16;

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const TOKEN68 = /[A-Za-z0-9._~+/-]+=*/y;
const EQUALS = /[ \t]*=[ \t]*/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;
const SPACES = / +/y;
const BLANK = /[ \t]*/y;
const COMMAS = /[ \t]*(?:,[ \t]*)+/y;

/**
 * The challenges of a `WWW-Authenticate` header, several headers joined by commas included
 * (RFC 9110, 11.6.1: a comma parts challenges and the parameters of one alike). What does not parse
 * ends the list: the challenges before it stand.
 */
export function parseChallenges(header: string): readonly Challenge[] {
  const text = header.slice(0, MAX_HEADER);
  const challenges: Challenge[] = [];
  let at = taken(COMMAS, text, 0)?.end ?? taken(BLANK, text, 0)?.end ?? 0;
  while (at < text.length && challenges.length < MAX_CHALLENGES) {
    const scheme = taken(TOKEN, text, at);
    if (scheme === undefined) break;
    const read = readChallenge(scheme.text.toLowerCase(), text, scheme.end);
    challenges.push(read.challenge);
    if (read.end === undefined) break;
    at = read.end;
  }
  return challenges;
}

interface Taken {
  readonly text: string;
  readonly end: number;
}

function taken(pattern: RegExp, text: string, at: number): Taken | undefined {
  pattern.lastIndex = at;
  const found = pattern.exec(text);
  return found === null ? undefined : { text: found[1] ?? found[0], end: pattern.lastIndex };
}

/** What follows a scheme, up to the next one; no `end` where nothing more can be read. */
function readChallenge(
  scheme: string,
  text: string,
  after: number,
): { readonly challenge: Challenge; readonly end?: number } {
  const params = new Map<string, string>();
  const spaces = taken(SPACES, text, after);
  if (spaces === undefined) return ended({ scheme, params }, text, after);
  const token68 = taken(TOKEN68, text, spaces.end);
  if (token68 !== undefined && isEnd(text, token68.end)) {
    return ended({ scheme, params, token68: token68.text }, text, token68.end);
  }
  let at = spaces.end;
  while (true) {
    const param = readParam(text, at);
    if (param === "broken") return { challenge: { scheme, params } };
    if (param === undefined) {
      // What is no parameter after a comma is the next scheme.
      return at === spaces.end
        ? ended({ scheme, params }, text, at)
        : { challenge: { scheme, params }, end: at };
    }
    if (!params.has(param.name)) params.set(param.name, param.value);
    const comma = taken(COMMAS, text, param.end);
    if (comma === undefined) return ended({ scheme, params }, text, param.end);
    at = comma.end;
  }
}

function readParam(text: string, at: number) {
  const name = taken(TOKEN, text, at);
  const equals = name && taken(EQUALS, text, name.end);
  if (name === undefined || equals === undefined) return undefined;
  const quoted = taken(QUOTED, text, equals.end);
  const value = quoted ?? taken(TOKEN, text, equals.end);
  if (value === undefined) return "broken";
  const plain = quoted === undefined ? value.text : value.text.replaceAll(/\\(.)/g, "$1");
  return { name: name.text.toLowerCase(), value: plain, end: value.end };
}

function isEnd(text: string, at: number): boolean {
  const rest = taken(BLANK, text, at)?.end ?? at;
  return rest >= text.length || text[rest] === ",";
}

function ended(challenge: Challenge, text: string, at: number) {
  const comma = taken(COMMAS, text, at);
  return comma === undefined ? { challenge } : { challenge, end: comma.end };
}
