import { equal } from "node:assert/strict";
import {
  accountName,
  type Candidate,
  credentialFingerprint,
  type CredentialRequest,
  isNewEnough,
  isRefused,
  parseImageReference,
  Secret,
  tryParseImageTarget,
} from "../../../lib/model/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";

const REQUEST: CredentialRequest = { image: parseImageReference("r.io/app:1"), labels: {} };
const CREDENTIAL = { kind: "basic", username: "u", password: new Secret("p") } as const;

Deno.test("isNewEnough: compares with newerThanMs, also after the wall clock was set back", () => {
  const clock = new FakeClock();
  const nowMs = clock.wallMs();
  const table: readonly (readonly [newer: number | undefined, fetched: number, wanted: boolean])[] =
    [
      [undefined, nowMs - 60_000, true],
      [nowMs, nowMs, false],
      [nowMs - 1, nowMs, true],
      [nowMs - 1, nowMs - 1, false],
      // Times in the future: only what was fetched in the last ten seconds counts.
      [nowMs + 60_000, nowMs - 9_999, true],
      [nowMs + 60_000, nowMs - 10_000, false],
    ];
  for (const [newerThanMs, fetchedAtMs, wanted] of table) {
    const request = { ...REQUEST, ...(newerThanMs !== undefined && { newerThanMs }) };
    equal(isNewEnough(fetchedAtMs, request, clock), wanted, `${newerThanMs} ${fetchedAtMs}`);
  }
});

Deno.test("isRefused: is true only for the refused credential", () => {
  const candidate = { credential: CREDENTIAL };
  const fingerprint = credentialFingerprint(CREDENTIAL);
  equal(isRefused(candidate, REQUEST), false);
  equal(isRefused(candidate, { ...REQUEST, refused: { fingerprint } }), true);
  equal(isRefused(candidate, { ...REQUEST, refused: { fingerprint: "00000000" } }), false);
});

Deno.test("accountName: names the plugin and the account", () => {
  const candidate: Candidate = {
    credential: CREDENTIAL,
    origin: "o",
    fetchedAtMs: 0,
    watched: false,
  };
  equal(accountName(candidate), undefined);
  equal(accountName({ ...candidate, account: "ns/a" }), " ns/a");
  equal(accountName({ ...candidate, plugin: "p", account: "ns/a" }), "p ns/a");
});

Deno.test("tryParseImageTarget: returns undefined for an image that does not parse", () => {
  equal(tryParseImageTarget(REQUEST.image.text)?.labels.join("."), "r.io");
  equal(tryParseImageTarget("r.%io/app"), undefined);
});
