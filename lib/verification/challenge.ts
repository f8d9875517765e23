/** One challenge of a `WWW-Authenticate` header. */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Parameters by name in lower case. Of several with one name, the first is used. */
  readonly params: ReadonlyMap<string, string>;
  /** Some schemes use it instead of parameters. */
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
 * Parses a `WWW-Authenticate` header, or several joined by commas (RFC 9110, 11.6.1: commas separate
 * challenges as well as parameters). Returns the challenges before the first syntax error.
 */
export function parseChallenges(header: string): readonly Challenge[] {
  const text = header.slice(0, MAX_HEADER);
  const challenges: Challenge[] = [];
  let at = match(COMMAS, text, 0)?.end ?? match(BLANK, text, 0)?.end ?? 0;
  while (at < text.length && challenges.length < MAX_CHALLENGES) {
    const scheme = match(TOKEN, text, at);
    if (scheme === undefined) break;
    const read = readChallenge(scheme.text.toLowerCase(), text, scheme.end);
    challenges.push(read.challenge);
    if (read.end === undefined) break;
    at = read.end;
  }
  return challenges;
}

interface Match {
  readonly text: string;
  readonly end: number;
}

function match(pattern: RegExp, text: string, at: number): Match | undefined {
  pattern.lastIndex = at;
  const found = pattern.exec(text);
  return found === null ? undefined : { text: found[1] ?? found[0], end: pattern.lastIndex };
}

/** Reads a challenge after its scheme. There is no `end` when nothing more can be parsed. */
function readChallenge(
  scheme: string,
  text: string,
  after: number,
): { readonly challenge: Challenge; readonly end?: number } {
  const params = new Map<string, string>();
  const spaces = match(SPACES, text, after);
  if (spaces === undefined) return ended({ scheme, params }, text, after);
  const token68 = match(TOKEN68, text, spaces.end);
  if (token68 !== undefined && isEnd(text, token68.end)) {
    return ended({ scheme, params, token68: token68.text }, text, token68.end);
  }
  let at = spaces.end;
  while (true) {
    const param = readParam(text, at);
    if (param === "invalid") return { challenge: { scheme, params } };
    if (param === undefined) {
      // A token without "=" after a comma is the next scheme.
      return at === spaces.end
        ? ended({ scheme, params }, text, at)
        : { challenge: { scheme, params }, end: at };
    }
    if (!params.has(param.name)) params.set(param.name, param.value);
    const comma = match(COMMAS, text, param.end);
    if (comma === undefined) return ended({ scheme, params }, text, param.end);
    at = comma.end;
  }
}

function readParam(text: string, at: number) {
  const name = match(TOKEN, text, at);
  const equals = name && match(EQUALS, text, name.end);
  if (name === undefined || equals === undefined) return undefined;
  const quoted = match(QUOTED, text, equals.end);
  const value = quoted ?? match(TOKEN, text, equals.end);
  if (value === undefined) return "invalid";
  const plain = quoted === undefined ? value.text : value.text.replaceAll(/\\(.)/g, "$1");
  return { name: name.text.toLowerCase(), value: plain, end: value.end };
}

function isEnd(text: string, at: number): boolean {
  const rest = match(BLANK, text, at)?.end ?? at;
  return rest >= text.length || text[rest] === ",";
}

/** Returns the challenge and where the next one starts, if a comma follows. */
function ended(challenge: Challenge, text: string, at: number) {
  const comma = match(COMMAS, text, at);
  return comma === undefined ? { challenge } : { challenge, end: comma.end };
}
