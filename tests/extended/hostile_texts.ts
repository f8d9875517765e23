/**
 * Hostile texts for all parsers: their syntax, mixed, cut and repeated.
 *
 * @module
 */
import fc from "fast-check";

/** Tokens with a meaning for one of the parsers. */
export const UNITS: readonly string[] = [
  ..."a0/:@.-_*?#%[]{}\"'\\ \n\t,=+~!&<>|^$;",
  "--",
  "../",
  "%41",
  "%zz",
  "1h",
  "1.5h",
  "0.",
  "[[",
  "[a]\n",
  "[[a]]\n",
  "a.",
  "a = ",
  "a=1\n",
  'a="\\u0041"\n',
  '{"a":',
  '{"auths":{',
  '"auth":"dTpw",',
  "- a\n",
  "-\n ",
  "a:\n ",
  "- [",
  "&a [*a,",
  "? ",
  "---\n",
  "!!str ",
  "<<: *a\n",
  "eyJ",
  "eyJhIjox.",
  "://",
  "a@",
  "localhost:5000/",
  "\u00e9",
  "\u{1f600}",
  "\ud800",
  "\0",
  "\u202e",
  "constructor",
  "__proto__",
  "toString",
];

const NAMES = [
  ...["auths", "auth", "credsStore", "credHelpers", "identitytoken", "username", "password"],
  ...["providers", "name", "env", "matchImages", "defaultCacheDuration", "tokenAttributes"],
  ...["kind", "apiVersion", "cacheDuration", "cacheKeyType", "Secret", "Username", "status"],
  ...["token", "expirationTimestamp", "clusters", "users", "contexts", "current-context"],
  ...["device", "backend", "config", "host", "repo", "id", "instances", "api_socket", "state"],
  ...["backend_collection", "version", "metadata", "spec", "containers", "image", "data"],
  ...["__proto__", "constructor", "images", "credentials", "pulls", "exp", "expiration"],
];
const WORDS = [
  "CredentialProviderConfig",
  "kubelet.config.k8s.io/v1",
  "CredentialProviderResponse",
  "credentialprovider.kubelet.k8s.io/v1",
  "ExecCredential",
  "client.authentication.k8s.io/v1",
  "registry",
  "Image",
  "1h",
  "dTpw",
  "127.0.0.1:9111",
  "fscache",
];

const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom<unknown>(null, true, 0, -1, 1e308, "", ...WORDS),
    fc.string(),
    fc.array(tie("any"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie("any"), { maxKeys: 5 }),
  ),
})).any;

const jsonish = value.map((each) => JSON.stringify(each));
const units = fc.array(fc.constantFrom(...UNITS), { maxLength: 30 }).map((all) => all.join(""));
const tomlish = fc.array(
  fc.tuple(fc.constantFrom("[a]", "a", "[[daemons]]", "[server]", "address", "socket"), jsonish),
  { maxLength: 5 },
).map((lines) =>
  lines.map(([key, text]) => key.startsWith("[") ? key : `${key}=${text}`).join("\n")
);

/** Generates hostile texts. */
export const hostileText: fc.Arbitrary<string> = fc.oneof(
  jsonish,
  fc.tuple(jsonish, fc.nat()).map(([text, at]) => text.slice(0, at % (text.length + 1))),
  fc.tuple(jsonish, units, fc.nat()).map(([text, more, at]) => {
    const cut = at % (text.length + 1);
    return text.slice(0, cut) + more + text.slice(cut);
  }),
  tomlish,
  units,
  fc.string({ unit: "binary", maxLength: 60 }),
);

/** Yields texts of any length that are expensive to parse: depth, width, backtracking. */
export function* growing(): Generator<
  { readonly name: string; readonly of: (n: number) => string }
> {
  for (const unit of UNITS) {
    const repeat = (n: number) => unit.repeat(Math.ceil(n / unit.length));
    yield { name: JSON.stringify(unit), of: repeat };
    yield { name: `"a${unit}…b"`, of: (n) => `a${repeat(n)}b` };
  }
  yield { name: "deep and closed lists", of: (n) => "[".repeat(n / 2) + "]".repeat(n / 2) };
  yield {
    name: "deep and closed objects",
    of: (n) => '{"a":'.repeat(n / 6) + "1" + "}".repeat(n / 6),
  };
  yield { name: "many fields", of: (n) => `{${many(n, (i) => `"k${i}":{"auth":"dTpw"}`, ",")}}` };
  yield {
    name: "many docker entries",
    of: (n) => `{"auths":{${many(n, (i) => `"r${i}.io/a":{"auth":"dTpw"}`, ",")}}}`,
  };
  yield { name: "many equal fields", of: (n) => `{${many(n, () => '"k":1', ",")}}` };
  yield { name: "many lines", of: (n) => many(n, (i) => `k${i} = ${i}`, "\n") };
  yield { name: "many tables", of: (n) => many(n, (i) => `[t${i}]\na = 1`, "\n") };
  yield { name: "many daemons", of: (n) => many(n, (i) => `[[daemons]]\nid = "d${i}"`, "\n") };
  yield { name: "a long dotted key", of: (n) => `${many(n, () => "a", ".")} = 1` };
  yield {
    name: "many providers",
    of: (n) =>
      "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n" +
      many(n, (i) => `- name: p${i}\n  matchImages: ["a.io"]`, "\n"),
  };
  yield {
    name: "many users",
    of: (n) => `current-context: a\nusers:\n${many(n, (i) => `- name: u${i}\n  user: {}`, "\n")}`,
  };
  yield { name: "many anchors", of: (n) => many(n, (i) => `a${i}: &a${i} [x]`, "\n") };
  yield { name: "many aliases", of: (n) => `a: &a [x]\n${many(n, (i) => `b${i}: *a`, "\n")}` };
  yield {
    name: "many merges",
    of: (n) => `a: &a {x: 1}\n${many(n, (i) => `b${i}: {<<: *a}`, "\n")}`,
  };
  yield {
    name: "many daemons in JSON",
    of: (n) => `[${many(n, (i) => `{"id":"d${i}","api_socket":"/s","instances":{}}`, ",")}]`,
  };
  yield {
    name: "many patterns",
    of: (n) =>
      '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",' +
      `"cacheKeyType":"Image","auth":{${
        many(n, (i) => `"r${i}.io":{"username":"u","password":"p"}`, ",")
      }}}`,
  };
}

function many(n: number, one: (i: number) => string, between: string): string {
  const parts: string[] = [];
  for (let i = 0, length = 0; length < n; i++) {
    const part = one(i);
    parts.push(part);
    length += part.length + between.length;
  }
  return parts.join(between);
}
