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
import { CredentialChain, EndpointChain } from "../../../lib/providers/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";

const IMAGE = parseImageReference("registry.example.com/app:v1");
const ENDPOINT = parseImageReference("mirror.example.com/app:v1");

type Answer = "found" | "none" | ReasonCode;

/** What a provider answers for the mirror, and for the image's registry. */
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
  return { chain: new EndpointChain(chain), requests };
}

const request = (change: Partial<CredentialRequest> = {}): CredentialRequest => ({
  image: IMAGE,
  endpoint: ENDPOINT,
  labels: { "containerd.io/snapshot/pullusername": "u" },
  ...change,
});

const originOf = (winner?: { readonly candidates: readonly Candidate[] }) =>
  winner?.candidates.map(({ origin, forEndpoint = false }) => [origin, forEndpoint])[0];

Deno.test("EndpointChain: without another place it asks for the image and marks nothing", async () => {
  const { chain, requests } = chainOf(["docker", "none", "found"]);
  const { endpoint: _, ...plain } = request();
  const { winner, attempts } = await chain.resolve(plain);
  deepStrictEqual(originOf(winner), [IMAGE.registry, false]);
  strictEqual(attempts[0]?.forEndpoint, undefined);
  deepStrictEqual(requests, [plain]);
});

Deno.test("EndpointChain: an entry for the place wins, and the image's is not asked for", async () => {
  const { chain, requests } = chainOf(["docker", "none", "found"], ["kubelet", "found", "found"]);
  const { image, winner, attempts } = await chain.resolve(request());
  strictEqual(image, IMAGE);
  strictEqual(winner?.provider, "kubelet", "a later provider's entry for it goes first");
  deepStrictEqual(winner?.candidates.map(({ forEndpoint }) => forEndpoint), [true, true]);
  deepStrictEqual(attempts.map(({ forEndpoint }) => forEndpoint), [true, true]);
  deepStrictEqual(requests.map(({ image }) => image.registry), [
    ENDPOINT.registry,
    ENDPOINT.registry,
  ]);
  const [first] = requests;
  strictEqual(first?.podImage, IMAGE, "pods name the image");
  deepStrictEqual(first?.labels, {}, "the labels of a pull are for the image's registry");
  strictEqual(first?.endpoint, undefined);
});

Deno.test("EndpointChain: without an entry for the place, the image's credential serves", async () => {
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

Deno.test("EndpointChain: an entry that cannot be used now is not replaced by the image's", async () => {
  for (const reason of ["plugin-failed", "helper-timeout", "invalid-entry"] as const) {
    const { chain } = chainOf(["docker", reason, "found"]);
    strictEqual((await chain.resolve(request())).winner, undefined, reason);
  }
});

Deno.test("EndpointChain: a source that is broken as a whole hides no entry", async () => {
  const hit = ["docker", "none", "found"] as const;
  for (const reason of ["source-unreachable", "unreadable"] as const) {
    const { chain } = chainOf(hit, ["kubesecret", reason, reason]);
    deepStrictEqual(originOf((await chain.resolve(request())).winner), [IMAGE.registry, false]);
  }
  // One helper for every registry, which is not installed.
  const { chain } = chainOf(["docker", "helper-missing", "helper-missing"], [
    "kubelet",
    "none",
    "found",
  ]);
  deepStrictEqual(originOf((await chain.resolve(request())).winner), [IMAGE.registry, false]);
});

Deno.test("EndpointChain: what the place's entry gave before stays in use through an outage", async () => {
  const answers = [["docker", "none", "found"], [
    "kubesecret",
    "source-unreachable",
    "source-unreachable",
  ]] as const;
  const { chain, requests } = chainOf(...answers);
  const { winner } = await chain.resolve(request({ endpointInUse: true }));
  strictEqual(winner, undefined);
  strictEqual(requests.length, 2, "the image's is not even asked for");
  // An entry that is gone, and no failure: then the image's serves again.
  const gone = await chainOf(["docker", "none", "found"]).chain
    .resolve(request({ endpointInUse: true }));
  deepStrictEqual(originOf(gone.winner), [IMAGE.registry, false]);
});

Deno.test("EndpointChain: with all, both are asked and the place's entry still wins", async () => {
  const { chain, requests } = chainOf(["docker", "found", "found"]);
  const { winner, attempts } = await chain.resolve(request(), { all: true });
  deepStrictEqual(originOf(winner), [ENDPOINT.registry, true]);
  strictEqual(attempts.length, 2);
  strictEqual(requests.length, 2);
});
