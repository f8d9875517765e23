import { deepEqual, equal, match, ok } from "node:assert/strict";
import {
  type Credential,
  parseImageReference,
  type ProbeTarget,
  type RegistryHttpRequest,
  Secret,
} from "../../../lib/model/mod.ts";
import { defaultProbeTarget, RegistryProbe } from "../../../lib/verification/probe.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { authorizationOf, type FakeAnswer, FakeRegistryHttp } from "../../fakes/registry_http.ts";

const TARGET: ProbeTarget = {
  scheme: "https",
  host: "registry.example.com",
  repository: "team/app",
  reference: "v1",
  skipVerify: false,
  caFiles: [],
};
const MANIFEST = "https://registry.example.com/v2/team/app/manifests/v1";
const GOOD: Credential = { kind: "basic", username: "u", password: new Secret("good") };
const BAD: Credential = { kind: "basic", username: "u", password: new Secret("bad:é") };
const BASIC = { "www-authenticate": 'Basic realm="r"' };
const BEARER = { "www-authenticate": 'Bearer realm="https://auth.example.com/token",service="s"' };

type Script = (request: RegistryHttpRequest) => FakeAnswer;

async function probed(
  script: Script | FakeRegistryHttp,
  credential: Credential | undefined = GOOD,
  more: Partial<ProbeTarget> = {},
) {
  const http = script instanceof FakeRegistryHttp ? script : new FakeRegistryHttp(script);
  const probe = new RegistryProbe({ http, clock: new FakeClock(1_000_000) });
  const verdict = await probe.probe({ ...TARGET, ...more }, credential);
  return { verdict, sent: http.sent, http, kind: verdict.kind, detail: verdict.detail };
}

/** A registry that requires a user name and a password. */
const basicRegistry = (refusal: FakeAnswer): Script => (request) => {
  const auth = authorizationOf(request);
  if (auth === undefined) return { status: 401, headers: BASIC };
  return auth === `Basic ${btoa("u:good")}` ? { status: 200 } : refusal;
};

/** A registry with a token service; `denied` is its response to the token of `low`. */
const bearerRegistry = (denied: FakeAnswer = { status: 401 }): Script => (request) => {
  const auth = authorizationOf(request);
  if (request.url.startsWith("https://auth.example.com/")) {
    if (request.method === "POST") {
      return request.body?.reveal().includes("refresh_token=identity")
        ? { status: 200, body: { access_token: "t-good" } }
        : { status: 400, body: { error: "invalid_grant" } };
    }
    if (auth === `Basic ${btoa("u:good")}`) return { status: 200, body: { token: "t-good" } };
    if (auth === `Basic ${btoa("u:low")}`) return { status: 200, body: { token: "t-low" } };
    if (auth === undefined) return { status: 200, body: { token: "t-low" } };
    return { status: 401, body: { details: "incorrect username or password" } };
  }
  if (auth === "Bearer t-good") return { status: 200 };
  if (auth === "Bearer t-low") return denied;
  return { status: 401, headers: BEARER };
};

Deno.test("defaultProbeTarget: uses verified TLS except on loopback, and the API host of Docker Hub", () => {
  const target = (ref: string) => defaultProbeTarget(parseImageReference(ref));
  deepEqual(target("registry.example.com/team/app:v1"), TARGET);
  deepEqual(target("nginx").host, "registry-1.docker.io");
  deepEqual(target("127.0.0.1:5000/a").scheme, "http");
});

Deno.test("RegistryProbe: sends Basic authentication after a challenge", async () => {
  const { verdict, sent } = await probed(basicRegistry({ status: 401 }));
  equal(verdict.kind, "accepted");
  deepEqual(sent, [
    "GET https://registry.example.com/v2/",
    `HEAD ${MANIFEST} Basic ${btoa("u:good")}`,
  ]);
  equal((await probed(basicRegistry({ status: 401 }), BAD)).kind, "refused");
});

Deno.test("RegistryProbe: all requests of a probe have one deadline", async () => {
  const clock = new FakeClock();
  await clock.advance(5_000);
  const registry = basicRegistry({ status: 401 });
  const http = new FakeRegistryHttp((request) => {
    void clock.advance(1_000);
    return registry(request);
  });
  await new RegistryProbe({ http, clock }).probe(TARGET, GOOD);
  const [first = 0, second = 0] = http.requests.map(({ timeoutMs }) => timeoutMs);
  equal(first - second, 1_000);
});

Deno.test("RegistryProbe: requests a token with GET", async () => {
  const { verdict, sent } = await probed(bearerRegistry());
  equal(verdict.kind, "accepted");
  deepEqual(sent, [
    "GET https://registry.example.com/v2/",
    "GET https://auth.example.com/token?service=s&scope=repository%3Ateam%2Fapp%3Apull " +
    `Basic ${btoa("u:good")}`,
    `HEAD ${MANIFEST} Bearer t-good`,
  ]);
  const bad = await probed(bearerRegistry(), BAD);
  equal(bad.kind, "refused");
  match(bad.detail, /token service responded with status 401: incorrect username or password/);
});

Deno.test("RegistryProbe: exchanges an identity token with POST", async () => {
  const identity = (token: string): Credential => ({
    kind: "identity-token",
    username: "",
    token: new Secret(token),
  });
  const { verdict, http } = await probed(bearerRegistry(), identity("identity"));
  equal(verdict.kind, "accepted");
  const post = http.requests.find(({ method }) => method === "POST");
  equal(post?.url, "https://auth.example.com/token");
  deepEqual(Object.fromEntries(new URLSearchParams(post?.body?.reveal())), {
    grant_type: "refresh_token",
    client_id: "nydus-auth-agent",
    scope: "repository:team/app:pull",
    refresh_token: "identity",
    service: "s",
  });
  equal((await probed(bearerRegistry(), identity("expired"))).kind, "refused");
  const basicOnly = await probed(basicRegistry({ status: 401 }), identity("identity"));
  equal(basicOnly.kind, "refused");
  ok(!basicOnly.sent.join().includes("identity"));
});

Deno.test("RegistryProbe: sends a registry token only to the registry", async () => {
  const token: Credential = { kind: "registry-token", token: new Secret("t-good") };
  const { verdict, sent } = await probed(bearerRegistry(), token);
  equal(verdict.kind, "accepted");
  deepEqual(sent.slice(1), [`HEAD ${MANIFEST} Bearer t-good`]);
  const expired: Credential = { kind: "registry-token", token: new Secret("expired") };
  equal((await probed(bearerRegistry(), expired)).kind, "refused");
});

Deno.test("RegistryProbe: returns forbidden for a token without permission", async () => {
  const low: Credential = { kind: "basic", username: "u", password: new Secret("low") };
  for (
    const denied of [
      {
        status: 401,
        headers: { "www-authenticate": 'Bearer realm="r",error="insufficient_scope"' },
      },
      { status: 401, body: { errors: [{ message: "unauthorized to access repository: a" }] } },
      { status: 403 },
      { status: 401 },
    ]
  ) equal((await probed(bearerRegistry(denied), low)).kind, "forbidden");
  const invalid = { "www-authenticate": 'Bearer realm="r",error="invalid_token"' };
  equal((await probed(bearerRegistry({ status: 401, headers: invalid }), low)).kind, "refused");
});

Deno.test("RegistryProbe: reads the message of a 403 with GET and applies the registry profiles", async () => {
  const denial = (message: string) => ({ status: 403, body: { errors: [{ message }] } });
  const ecr = denial("Your authorization token has expired. Reauthenticate and try again.");
  const expired = await probed(basicRegistry(ecr), BAD);
  equal(expired.kind, "refused");
  match(expired.detail, /status 403: Your authorization token has expired/);
  deepEqual(expired.sent.map((line) => line.split(" ")[0]), ["GET", "HEAD", "GET"]);
  const noPermission = denial(
    "User: arn:aws:x is not authorized to perform: ecr:BatchGetImage on resource",
  );
  equal((await probed(basicRegistry(noPermission), BAD)).kind, "forbidden");
  equal((await probed(basicRegistry(denial("no")), BAD)).kind, "forbidden");
  const gar: Script = (request) =>
    request.url.startsWith("https://auth.")
      ? denial('Unauthenticated request. Unauthenticated requests do not have permission "x"')
      : { status: 401, headers: BEARER };
  equal((await probed(gar)).kind, "refused");
});

Deno.test("RegistryProbe: returns a verdict that does not concern the credential", async () => {
  const then = (answer: FakeAnswer): Script => (request) =>
    authorizationOf(request) === undefined ? { status: 401, headers: BASIC } : answer;
  equal((await probed(then({ status: 404 }))).kind, "not-found");
  equal((await probed(then({ status: 503 }))).kind, "unreachable");
  equal((await probed(then({ status: 418 }))).kind, "unknown");
  const delays: [string, number][] = [
    ["0", 0],
    ["7", 7_000],
    ["99999999", 3_600_000],
    ["Thu, 01 Jan 1970 00:17:00 GMT", 20_000],
    ["Thu, 01 Jan 1970 00:00:00 GMT", 60_000],
    ["later", 60_000],
  ];
  for (const [text, delayMs] of delays) {
    const { verdict } = await probed(then({ status: 429, headers: { "retry-after": text } }));
    equal(verdict.kind === "throttled" && verdict.retryAtMs, 1_000_000 + delayMs, text);
  }
  const down = new FakeRegistryHttp(() => ({ kind: "timed-out" }));
  equal((await probed(down)).kind, "unreachable");
  const digest = { "www-authenticate": 'Digest realm="r"' };
  equal((await probed(() => ({ status: 401, headers: digest }))).kind, "unknown");
  equal((await probed(() => ({ status: 401 }))).kind, "unknown");
  equal((await probed(() => ({ status: 403 }))).kind, "unknown");
});

Deno.test("RegistryProbe: sends no credential for a public image", async () => {
  const open = await probed(() => ({ status: 200 }));
  equal(open.kind, "anonymous");
  deepEqual(open.sent.filter((line) => line.includes("Basic")), []);
});

Deno.test("RegistryProbe: requests an anonymous token without a credential", async () => {
  const http = new FakeRegistryHttp(bearerRegistry({ status: 200 }));
  const probe = new RegistryProbe({ http, clock: new FakeClock() });
  equal((await probe.probe(TARGET, undefined)).kind, "anonymous");
  const closed = new RegistryProbe({
    http: new FakeRegistryHttp(basicRegistry({ status: 401 })),
    clock: new FakeClock(),
  });
  equal((await closed.probe(TARGET, undefined)).kind, "refused");
});

Deno.test("RegistryProbe: does not accept or follow a redirect", async () => {
  const page = { status: 302, headers: { location: "https://login.example.com/" } };
  const everything = await probed(() => page);
  equal(everything.kind, "unknown", "a login page is not the image");
  ok(everything.sent.every((line) => !line.includes("Basic") && !line.includes("login")));
  const manifest = await probed((request) =>
    authorizationOf(request) === undefined ? { status: 401, headers: BASIC } : page
  );
  equal(manifest.kind, "unknown");
  const service = await probed((request) =>
    request.url.startsWith("https://auth.") ? page : { status: 401, headers: BEARER }
  );
  equal(service.kind, "unknown");
  ok(!service.sent.join().includes("login"));
});

Deno.test("RegistryProbe: falls back to the registry when a mirror or proxy is inconclusive", async () => {
  const kindOf = async (mirror: FakeAnswer | "down", fallback?: ProbeTarget) => {
    const http = new FakeRegistryHttp((request) => {
      if (!request.url.includes("//mirror.")) return basicRegistry({ status: 401 })(request);
      return mirror === "down" ? { kind: "unreachable", detail: "it is down" } : mirror;
    });
    const more = { host: "mirror.example.com", ...(fallback && { fallback }) };
    return (await probed(http, GOOD, more)).kind;
  };
  equal(await kindOf("down", TARGET), "accepted");
  equal(await kindOf({ status: 302 }, TARGET), "accepted");
  equal(await kindOf("down"), "unreachable");
  equal(
    await kindOf({ status: 403 }, { ...TARGET }),
    "accepted",
    "403 without a challenge is inconclusive",
  );
});

Deno.test("RegistryProbe: requests the tag list without tag and digest", async () => {
  const { reference: _, ...bare } = TARGET;
  const http = new FakeRegistryHttp(basicRegistry({ status: 401 }));
  await new RegistryProbe({ http, clock: new FakeClock() }).probe(bare, GOOD);
  match(http.sent[1] ?? "", /\/v2\/team\/app\/tags\/list\?n=1 Basic/);
});

Deno.test("RegistryProbe: sends the credential only to a trusted token service", async () => {
  const naming = (realm: string): Script => (request) =>
    request.url.endsWith("/v2/")
      ? { status: 401, headers: { "www-authenticate": `Bearer realm="${realm}",service="s"` } }
      : { status: 200, body: { token: "t" } };
  const isTrusted = async (realm: string, more: Partial<ProbeTarget>) => {
    const { kind, sent } = await probed(naming(realm), GOOD, more);
    const isSent = sent.some((line) => line.includes("Basic"));
    equal(isSent, kind === "accepted", realm);
    return isSent;
  };
  const other = "https://auth.example.com/token";
  equal(await isTrusted(other, {}), true);
  equal(await isTrusted(other, { skipVerify: true }), false);
  equal(await isTrusted(other, { scheme: "http" }), false);
  equal(await isTrusted("http://auth.example.com/token", {}), false);
  equal(await isTrusted("http://registry.example.com/token", {}), false); // a downgrade from TLS
  equal(await isTrusted("http://registry.example.com:81/token", { scheme: "http" }), true);
  equal(await isTrusted("https://registry.example.com/token", { skipVerify: true }), true);
  const loopback = { scheme: "http", host: "127.0.0.1:5000" } as const;
  equal(await isTrusted("http://localhost:5001/token", loopback), true);
  equal(await isTrusted("http://10.0.0.1/token", loopback), false);
  equal(await isTrusted("https://user:pass@auth.example.com/token", {}), false);
  equal(await isTrusted("file:///etc/passwd", {}), false);
  equal(await isTrusted("nonsense", {}), false);
});

Deno.test("RegistryProbe: never quotes a credential in a verdict", async () => {
  const secret = "hunter2hunter2hunter2hunter2hunter2hunter2hunter2";
  const echo: Script = (request) =>
    authorizationOf(request) === undefined
      ? { status: 401, headers: BASIC }
      : { status: 403, body: { errors: [{ message: `you sent ${secret}\nand more` }] } };
  const { detail } = await probed(echo, {
    kind: "basic",
    username: "u",
    password: new Secret(secret),
  });
  ok(!detail.includes("hunter2"), detail);
  ok(!detail.includes("\n"));
});

Deno.test("RegistryProbe: judges each response of a token service", async () => {
  const cases: [FakeAnswer, string, boolean?][] = [
    [{ status: 400, body: { error: "invalid_grant" } }, "refused"],
    [{ status: 400, body: { error: "invalid_scope" } }, "unknown"],
    [{ status: 404, body: { error: "invalid_grant" } }, "unknown"],
    [{ status: 204 }, "unknown"],
    [{ status: 401 }, "refused"],
    [{ status: 403 }, "forbidden"],
    [{ status: 300 }, "unknown", true],
    [{ status: 399 }, "unknown", true],
    [{ status: 200, body: { token: "" } }, "unknown"],
    [{ status: 200, body: { token: "a b" } }, "unknown"],
    [{ status: 503 }, "unreachable"],
  ];
  for (const [answer, expected, isRedirect = false] of cases) {
    const { kind, detail } = await probed((request) =>
      request.url.startsWith("https://auth.") ? answer : { status: 401, headers: BEARER }
    );
    equal(kind, expected, JSON.stringify(answer));
    equal(detail.includes("redirects are not followed"), isRedirect, detail);
  }
});
