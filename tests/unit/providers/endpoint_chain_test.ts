import { deepStrictEqual, strictEqual } from "node:assert/strict";
import {
  type Candidate,
  type CredentialProvider,
  type CredentialRequest,
  parseImageReference,
  type ProviderName,
  type ProviderOutcome,
  type ReasonCode,
  Secret,
} from "../../../lib/model/mod.ts";
import { CredentialChain } from "../../../lib/providers/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";

const IMAGE = parseImageReference("registry.example.com/app:v1");
const ENDPOINT = parseImageReference("mirror.example.com/app:v1");

type Answer = "found" | "none" | ReasonCode;

/** A provider's outcome for the endpoint and for the image's registry. */
type Answers = readonly [ProviderName, Answer, Answer];

function outcome(answer: Answer, origin: string): ProviderOutcome {
  if (answer === "none") return { kind: "none", reason: "no-entry-for-registry", notes: [] };
  if (answer !== "found") return { kind: "failed", reason: answer, detail: "broken", notes: [] };
  const credential = { kind: "basic", username: "u", password: new Secret(origin) } as const;
  const candidate: Candidate = { credential, origin, fetchedAtMs: 0, watched: false };
  return { kind: "found", reason: "found", candidates: [candidate, candidate], notes: [] };
}

function chainOf(...answers: readonly Answers[]) {
  const requests: CredentialRequest[] = [];
  const providers = answers.map(([name, there, own]): CredentialProvider => ({
    name,
    renewable: true,
    provide: (request) => {
      requests.push(request);
      const { registry } = request.image;
      return Promise.resolve(outcome(registry === ENDPOINT.registry ? there : own, registry));
    },
  }));
  const observer = new FakeObserver();
  const chain = new CredentialChain({ providers, clock: new FakeClock(), observer });
  return { chain, requests };
}

const request = (change: Partial<CredentialRequest> = {}): CredentialRequest => ({
  image: IMAGE,
  endpoint: ENDPOINT,
  labels: { "containerd.io/snapshot/pullusername": "u" },
  ...change,
});

const originOf = (winner?: { readonly candidates: readonly Candidate[] }) =>
  winner?.candidates.map(({ origin, forEndpoint = false }) => [origin, forEndpoint])[0];

Deno.test("CredentialChain: resolves the image itself when there is no endpoint", async () => {
  const { chain, requests } = chainOf(["docker", "none", "found"]);
  const { endpoint: _, ...plain } = request();
  const { winner, attempts } = await chain.resolve(plain);
  deepStrictEqual(originOf(winner), [IMAGE.registry, false]);
  strictEqual(attempts[0]?.forEndpoint, undefined);
  deepStrictEqual(requests, [plain]);
});

Deno.test("CredentialChain: resolves only the endpoint when a provider has an entry for it", async () => {
  const { chain, requests } = chainOf(["docker", "none", "found"], ["kubelet", "found", "found"]);
  const { image, winner, attempts } = await chain.resolve(request());
  strictEqual(image, IMAGE);
  strictEqual(winner?.provider, "kubelet", "an entry of a later provider takes precedence");
  deepStrictEqual(winner?.candidates.map(({ forEndpoint }) => forEndpoint), [true, true]);
  deepStrictEqual(attempts.map(({ forEndpoint }) => forEndpoint), [true, true]);
  deepStrictEqual(requests.map(({ image }) => image.registry), [
    ENDPOINT.registry,
    ENDPOINT.registry,
  ]);
  const [first] = requests;
  strictEqual(first?.podImage, IMAGE, "pods use the image");
  deepStrictEqual(first?.labels, {}, "pull labels are for the image's registry");
  strictEqual(first?.endpoint, undefined);
});

Deno.test("CredentialChain: falls back to the image's credential when no provider has an entry for the endpoint", async () => {
  const { chain, requests } = chainOf(["docker", "none", "none"], ["kubelet", "none", "found"]);
  const { winner, attempts } = await chain.resolve(request({ newerThanMs: 5 }));
  deepStrictEqual(originOf(winner), [IMAGE.registry, false]);
  deepStrictEqual(attempts.map(({ forEndpoint }) => forEndpoint ?? false), [
    true,
    true,
    false,
    false,
  ]);
  deepStrictEqual(requests.map(({ newerThanMs }) => newerThanMs), [5, 5, 5, 5]);
  strictEqual(
    (await chainOf(["docker", "none", "none"]).chain.resolve(request())).winner,
    undefined,
  );
});

Deno.test("CredentialChain: does not fall back when the endpoint's entry cannot be used at the moment", async () => {
  for (const reason of ["plugin-failed", "helper-timeout", "invalid-entry"] as const) {
    const { chain } = chainOf(["docker", reason, "found"]);
    strictEqual((await chain.resolve(request())).winner, undefined, reason);
  }
});

Deno.test("CredentialChain: falls back when a provider fails for every registry", async () => {
  const hit = ["docker", "none", "found"] as const;
  for (const reason of ["source-unreachable", "unreadable"] as const) {
    const { chain } = chainOf(hit, ["kubesecret", reason, reason]);
    deepStrictEqual(originOf((await chain.resolve(request())).winner), [IMAGE.registry, false]);
  }
  // A helper for every registry that is not installed.
  const { chain } = chainOf(["docker", "helper-missing", "helper-missing"], [
    "kubelet",
    "none",
    "found",
  ]);
  deepStrictEqual(originOf((await chain.resolve(request())).winner), [IMAGE.registry, false]);
});

Deno.test("CredentialChain: keeps the endpoint's credential in use during an outage", async () => {
  const answers = [["docker", "none", "found"], [
    "kubesecret",
    "source-unreachable",
    "source-unreachable",
  ]] as const;
  const { chain, requests } = chainOf(...answers);
  const { winner } = await chain.resolve(request({ endpointInUse: true }));
  strictEqual(winner, undefined);
  strictEqual(requests.length, 2, "the image itself is not resolved");
  // The entry is gone and no provider failed: the image's credential is used again.
  const gone = await chainOf(["docker", "none", "found"]).chain
    .resolve(request({ endpointInUse: true }));
  deepStrictEqual(originOf(gone.winner), [IMAGE.registry, false]);
});

Deno.test("CredentialChain: resolves endpoint and image with `all`, and the endpoint's entry still wins", async () => {
  const { chain, requests } = chainOf(["docker", "found", "found"]);
  const { winner, attempts } = await chain.resolve(request(), { all: true });
  deepStrictEqual(originOf(winner), [ENDPOINT.registry, true]);
  strictEqual(attempts.length, 2);
  strictEqual(requests.length, 2);
});
