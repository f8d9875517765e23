import { deepEqual, equal, ok } from "node:assert/strict";
import { credentialFingerprint, type CredentialRequest, Secret } from "../../../lib/model/mod.ts";
import { settle } from "../../fakes/clock.ts";
import { ask, askedImage, kubelet, pairs, response } from "./plugins.ts";

const MINUTE = 60_000;
const PLUGIN = { name: "gcp", matchImages: ["*.pkg.dev"], duration: "0s" };
const IMAGES = Array.from({ length: 1_000 }, (_, i) => `eu.pkg.dev/team/app${i}`);

/** A plugin that answers as Google's does: for the image alone, not to be cached, one token. */
function google(own: Readonly<Record<string, string>> = {}) {
  const fakes = kubelet([PLUGIN]);
  const token = { text: "t1" };
  fakes.runner.answer = (request) => {
    const password = own[askedImage(request).replace(/:.*/, "")] ?? token.text;
    return response({ "*.pkg.dev": ["oauth2", password] }, { type: "Image", duration: "0s" });
  };
  return { ...fakes, token };
}

/** The credential with this password, as the one that was refused. */
function fingerprintOf(password: string) {
  const credential = { kind: "basic", username: "oauth2", password: new Secret(password) } as const;
  return { fingerprint: credentialFingerprint(credential) };
}

Deno.test("AnswerGroups: 1,000 images of one token cost one execution a round", async () => {
  const { provider, runner, clock, token } = google();
  await Promise.all(IMAGES.map((ref) => provider.provide(ask(ref))));
  ok(runner.requests.length <= 8, `${runner.requests.length} executions to see it`);
  for (let round = 0; round < 5; round++) {
    const before = runner.requests.length;
    const newerThanMs = clock.wallMs();
    await clock.advance(4 * MINUTE);
    if (round === 3) token.text = "t2";
    const outcomes = await Promise.all(
      IMAGES.map((ref) => provider.provide(ask(ref, { newerThanMs }))),
    );
    equal(runner.requests.length, before + 1, `round ${round}`);
    ok(outcomes.every((outcome) => pairs(outcome)[0] === `oauth2:${token.text}`));
  }
});

Deno.test("AnswerGroups: an image that comes later is served by the others' answer", async () => {
  const { provider, runner, clock } = google();
  for (const ref of IMAGES.slice(0, 10)) await provider.provide(ask(ref));
  const before = runner.requests.length;
  await clock.advance(3 * MINUTE);
  deepEqual(pairs(await provider.provide(ask("eu.pkg.dev/team/late"))), ["oauth2:t1"]);
  equal(runner.requests.length, before);
  await provider.provide(ask("us.pkg.dev/team/app"));
  equal(runner.requests.length, before + 1, "another registry is another matter");
});

Deno.test("AnswerGroups: an image that differs gets its own answer when it is refused twice", async () => {
  const { provider, runner, clock } = google({ "eu.pkg.dev/other/app": "own" });
  for (const ref of IMAGES.slice(0, 10)) await provider.provide(ask(ref));
  const refs = ["eu.pkg.dev/other/app", ...IMAGES.slice(0, 10)];
  deepEqual(pairs(await provider.provide(ask("eu.pkg.dev/other/app"))), ["oauth2:t1"]);
  const refused = () =>
    ask("eu.pkg.dev/other/app", {
      refused: fingerprintOf("t1"),
      urgent: true,
      newerThanMs: clock.wallMs() - 1,
    });
  await clock.advance(MINUTE);
  await provider.provide(ask(IMAGES[0] ?? "", { newerThanMs: clock.wallMs() - 1 }));
  await clock.advance(1_000);
  deepEqual(pairs(await provider.provide(refused())), ["oauth2:own"]);
  const before = runner.requests.length;
  for (const ref of refs) await provider.provide(ask(ref, { newerThanMs: clock.wallMs() }));
  await clock.advance(MINUTE);
  for (const ref of refs) await provider.provide(ask(ref, { newerThanMs: clock.wallMs() - 1 }));
  ok(runner.requests.length >= before + refs.length, "nobody is believed to share any more");
});

Deno.test("AnswerGroups: a token refused everywhere is asked for once, and tried once", async () => {
  const { provider, runner, clock, token } = google();
  await Promise.all(IMAGES.map((ref) => provider.provide(ask(ref))));
  token.text = "t2";
  const newerThanMs = clock.wallMs();
  await clock.advance(MINUTE);
  const before = runner.requests.length;
  const outcomes = await Promise.all(
    IMAGES.map((ref) =>
      provider.provide(ask(ref, { newerThanMs, refused: fingerprintOf("t1"), urgent: true }))
    ),
  );
  await settle();
  ok(outcomes.every((outcome) => pairs(outcome)[0] === "oauth2:t2"));
  equal(runner.requests.length, before + 1);
  await clock.advance(5_000);
  const again = { newerThanMs: clock.wallMs() - 1, refused: fingerprintOf("t2"), urgent: true };
  await Promise.all(IMAGES.map((ref) => provider.provide(ask(ref, again))));
  ok(runner.requests.length <= before + 3, `${runner.requests.length - before} executions`);
});

Deno.test("AnswerGroups: images with tokens of their own never share", async () => {
  const own = Object.fromEntries(IMAGES.slice(0, 20).map((ref, i) => [ref, `own${i}`]));
  const { provider } = google(own);
  const outcomes = await Promise.all(
    IMAGES.slice(0, 20).map((ref) => provider.provide(ask(ref))),
  );
  deepEqual(
    outcomes.map((outcome) => pairs(outcome)[0]),
    Object.values(own).map((t) => `oauth2:${t}`),
  );
});

Deno.test("AnswerGroups: a token of one repository serves all its images, and no other repository's", async () => {
  const { provider, runner, clock } = google({
    "eu.pkg.dev/team/a": "token of a",
    "eu.pkg.dev/team/b": "token of b",
    "eu.pkg.dev/team/c": "token of c",
  });
  const refs = ["a", "b", "c"].flatMap((repository) =>
    Array.from({ length: 40 }, (_, i) => `eu.pkg.dev/team/${repository}:v${i}`)
  );
  const tokens = async (more: Partial<CredentialRequest> = {}) =>
    (await Promise.all(refs.map((ref) => provider.provide(ask(ref, more)))))
      .map((outcome) => pairs(outcome)[0]);
  const expected = refs.map((ref) => `oauth2:token of ${ref.split(/[/:]/)[2]}`);
  deepEqual(await tokens(), expected);
  ok(runner.requests.length <= 30, `${runner.requests.length} executions to see it`);
  for (let round = 0; round < 3; round++) {
    const before = runner.requests.length;
    const newerThanMs = clock.wallMs();
    await clock.advance(4 * MINUTE);
    deepEqual(await tokens({ newerThanMs }), expected);
    equal(runner.requests.length, before + 3, "one for each repository");
  }
});
