import { deepEqual, equal, ok } from "node:assert/strict";
import { rewriteConfigText } from "../../lib/delivery/deliverer.ts";
import { ApprovedHosts } from "../../lib/discovery/mod.ts";
import {
  type Endpoint,
  endpointOf,
  type FsDriver,
  type ImageReference,
  parseImageReference,
  readBackendOfFile,
  type RegistryBackend,
  Secret,
} from "../../lib/model/mod.ts";
import { probeTargetOf } from "../../lib/reconciler/candidate_selection.ts";
import { FakeFiles } from "../fakes/files.ts";
import { readVectors } from "./vectors.ts";

interface DaemonConfigVector {
  readonly snapshotter: "v0.15.2" | "v0.16.1";
  readonly image: string;
  readonly driver: FsDriver;
  readonly vpc: boolean;
  readonly config: unknown;
}

/** The mirrors folder of the vectors. */
const MIRRORS = {
  "registry.example.com_5000_":
    '[host."http://mirror.example.com:5000"]\nca = ["/etc/ssl/mirror.pem"]',
  "index.docker.io": '[host."https://hub.example.com"]',
  "registry-vpc.example.com": '[host."vpc-mirror.example.com:443"]',
};
const OLD = btoa("u:old");

/** Returns the hosts that get the credential, and the approved ones among them. */
async function hostsOf(vector: DaemonConfigVector): Promise<{
  readonly image: ImageReference;
  readonly backend: RegistryBackend;
  readonly endpoint: Endpoint | undefined;
}> {
  const files = new FakeFiles();
  for (const [name, text] of Object.entries(MIRRORS)) {
    files.set(`/certs.d/${name}/hosts.toml`, text);
  }
  const options = { files, mirrorsDir: "/certs.d", vpcRegistry: vector.vpc, allowedHosts: [] };
  const approved = new ApprovedHosts(options);
  const image = parseImageReference(vector.image);
  const backend = readBackendOfFile(vector.config);
  ok(backend);
  const endpoint = await endpointOf(image, backend, (host) => approved.approvalOf(image, host));
  return { image, backend, endpoint };
}

// Source: nydus-snapshotter config/daemonconfig: v0.15.2 `UpdateMirrors` writes a list of mirrors,
// v0.16.1 `selectMirrorHost` writes the first mirror that answers as the host.
Deno.test("ApprovedHosts: approves the mirrors in the configurations of both generations", async () => {
  for (const vector of readVectors<DaemonConfigVector>("daemon-configs")) {
    const { snapshotter, image: name, vpc } = vector;
    const { endpoint } = await hostsOf(vector);
    const wanted = [
      ...(snapshotter === "v0.15.2" && vpc ? ["registry registry-vpc.example.com"] : []),
      ...(name.startsWith("other.") ? [] : [
        `${snapshotter === "v0.15.2" ? "mirror" : "registry"} ` +
        (vpc
          ? "vpc-mirror.example.com"
          : name === "nginx"
          ? "hub.example.com"
          : "mirror.example.com:5000"),
      ]),
    ];
    const hosts = endpoint?.hosts ?? [];
    deepEqual(hosts.map(({ role, host }) => `${role} ${host}`), wanted, `${snapshotter} ${name}`);
    ok(hosts.every(({ approvedBy }) => approvedBy !== undefined), JSON.stringify(hosts));
  }
});

Deno.test("probeTargetOf: probes as nydusd reads, in both generations", async () => {
  for (const vector of readVectors<DaemonConfigVector>("daemon-configs")) {
    if (vector.image !== "registry.example.com:5000/team/app:v1") continue;
    const { image, backend } = await hostsOf(vector);
    const instance = { snapshotId: "7", image, backend };
    const target = probeTargetOf(image, [{ instance }]);
    equal(`${target.scheme}://${target.host}`, "http://mirror.example.com:5000");
    equal(target.skipVerify, vector.driver === "fusedev");
    const isNew = vector.snapshotter === "v0.16.1";
    deepEqual(target.caFiles, isNew ? ["/etc/ssl/mirror.pem"] : []);
    equal(target.fallback?.host, isNew ? undefined : "registry.example.com:5000");
  }
});

Deno.test("rewriteConfigText: keeps every field of both generations", () => {
  const credential = { kind: "basic", username: "u", password: new Secret("new") } as const;
  for (const { config } of readVectors<DaemonConfigVector>("daemon-configs")) {
    const text = JSON.stringify(config);
    const outcome = rewriteConfigText(text, credential, false);
    ok(outcome.kind === "changed", outcome.kind);
    equal(outcome.text, text.replace(OLD, btoa("u:new")));
  }
});
