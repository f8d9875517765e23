import { deepEqual, equal } from "node:assert/strict";
import { explainLocation } from "../../../lib/agent/explanation.ts";
import type { AgentConfig } from "../../../lib/config/mod.ts";
import {
  type Endpoint,
  parseImageReference,
  type Resolution,
  Secret,
} from "../../../lib/model/mod.ts";
import type { CredentialChain } from "../../../lib/providers/mod.ts";

const IMAGE = parseImageReference("registry.example.com/app/web:v1");

/** Explains a location with these hosts, for which the chain has this winner. */
function explained(
  hosts: readonly { readonly role: string; readonly host: string; readonly approvedBy?: string }[],
  { forEndpoint, isFound = true, policy = "warn" }: {
    readonly forEndpoint?: true;
    readonly isFound?: boolean;
    readonly policy?: "warn" | "refuse";
  } = {},
) {
  const credential = { kind: "basic", username: "u", password: new Secret("p") };
  const candidate = {
    credential,
    origin: "o",
    fetchedAtMs: 0,
    ...(forEndpoint && { forEndpoint }),
  };
  const winner = { provider: "docker", candidates: [candidate] };
  const resolution = { image: IMAGE, attempts: [], ...(isFound && { winner }) };
  const chain = {
    resolve: () => Promise.resolve(resolution as unknown as Resolution),
  } as unknown as CredentialChain;
  const endpoint = { host: "mirror.example.com", hosts } as unknown as Endpoint;
  const config = { delivery: { unapprovedHostPolicy: policy } } as unknown as AgentConfig;
  const location = { endpoint, reason: "by mount d/s" };
  return explainLocation(chain, { image: IMAGE, labels: {} }, location, config);
}

Deno.test("explainLocation: returns the winner, and the decision only for unapproved hosts", async () => {
  const approved = { role: "registry", host: "mirror.example.com", approvedBy: "hosts.toml" };
  const plain = await explained([approved]);
  equal(plain.winner?.foundFor, "registry");
  deepEqual(plain.hosts, [approved]);
  equal("unapprovedHosts" in plain || "decision" in plain, false);
  const unknown = [{ role: "mirror", host: "other.example.com" }, approved];
  const warned = await explained(unknown);
  deepEqual([warned.unapprovedHosts, warned.decision], [["other.example.com"], "delivered"]);
  const refused = await explained(unknown, { policy: "refuse" });
  deepEqual([refused.unapprovedHosts, refused.decision], [["other.example.com"], "withheld"]);
});

Deno.test("explainLocation: names an entry for the endpoint, and no decision without a winner", async () => {
  const found = await explained([], { forEndpoint: true });
  equal(found.winner?.foundFor, "endpoint");
  const none = await explained([{ role: "mirror", host: "other.example.com" }], { isFound: false });
  equal("winner" in none || "decision" in none || "unapprovedHosts" in none, false);
  deepEqual(none.hosts, [{ role: "mirror", host: "other.example.com" }]);
});
