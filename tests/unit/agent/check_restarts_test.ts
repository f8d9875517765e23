import { deepEqual } from "node:assert/strict";
import type { CheckFindings } from "../../../lib/agent/check_node.ts";
import { checkRestarts } from "../../../lib/agent/check_host.ts";
import { checkMountedCredentials } from "../../../lib/agent/check_node.ts";
import { type NodeView, parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { parseDockerConfig } from "../../../lib/providers/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeProcessRunner } from "../../fakes/process.ts";

const STARTED_MS = 1_700_000_000_000;

/** Checks a process that started at {@linkcode STARTED_MS}. */
async function restarts(argv: readonly string[], files: Record<string, number>) {
  const fake = new FakeFiles();
  for (const [path, ageMs] of Object.entries(files)) {
    fake.set(path, "", "file", { mtimeMs: STARTED_MS + ageMs });
  }
  const line = `7 ${STARTED_MS / 1_000}\u0001${argv.join("\u0001")}\u0001\n`;
  const findings: CheckFindings = { problems: [], warnings: [], passed: [] };
  const processRunner = new FakeProcessRunner(() => line);
  await checkRestarts({ files: fake, processRunner }, findings);
  const { warnings, passed } = findings;
  return [...warnings.map((one) => `${one.file}: ${one.problem}: ${one.remedy}`), ...passed];
}

Deno.test("checkRestarts: reports programs that started before their configuration changed", async () => {
  const kubelet = ["/usr/bin/kubelet", "--image-credential-provider-config=/p.d"];
  const nydus = ["containerd-nydus-grpc", "--config", "/n.toml"];
  const cases: [readonly string[], Record<string, number>, string][] = [
    [kubelet, { "/p.d/a.yaml": -60_000, "/p.d/b.yaml": 3_600_000 }, "kubelet"],
    [["/bin/containerd"], { "/etc/containerd/config.toml": 3_600_000 }, "containerd"],
    [["/bin/containerd", "-c", "/c.toml"], { "/c.toml": 3_600_000 }, "containerd"],
    [nydus, { "/n.toml": 3_600_000 }, "nydus-snapshotter"],
  ];
  for (const [argv, files, unit] of cases) {
    const [program = ""] = argv;
    const path = Object.keys(files).at(-1)?.replace(/[/]b.yaml$/, "");
    const problem = `${program.replace(/.*[/]/, "")} (process 7) started 1h before its last change`;
    deepEqual(await restarts(argv, files), [`${path}: ${problem}: systemctl restart ${unit}`]);
  }
});

Deno.test("checkRestarts: reports that no restart is needed, and ignores what is not visible", async () => {
  const kubelet = ["/usr/bin/kubelet", "--image-credential-provider-config", "/p.yaml"];
  const text = "restarts: not needed for kubelet; hosts.toml is read at each pull";
  deepEqual(await restarts(kubelet, { "/p.yaml": 2_000 }), [text]);
  deepEqual((await restarts(kubelet, { "/p.yaml": 2_001 })).length, 1);
  deepEqual(await restarts(kubelet, {}), []);
  deepEqual(await restarts(["/usr/bin/kubelet"], { "/p.yaml": 9_000 }), []);
  deepEqual(await restarts(["/bin/containerd-shim-runc-v2"], { "/p.yaml": 9_000 }), []);
});

Deno.test("checkMountedCredentials: reports mounts with another credential than docker's file", () => {
  const check = (auth: string, current: string, registry = "registry.example.com") => {
    const text = JSON.stringify({ auths: { [registry]: { auth: btoa(auth) } } });
    const findings: CheckFindings = { problems: [], warnings: [], passed: [] };
    const image = parseImageReference("registry.example.com/app:1");
    const instances = [{ daemonId: "d", snapshotId: "1", image, mountId: "/" }];
    const daemon = { instances, currentAuth: new Map([["/", new Secret(btoa(current))]]) };
    const view = { daemons: [daemon], problems: [] } as unknown as NodeView;
    checkMountedCredentials({ file: "/d.json", config: parseDockerConfig(text) }, view, findings);
    return findings.warnings.map(({ file, problem }) => `${file}: ${problem}`);
  };
  const problem = "mounts have another credential than it: registry.example.com/app:1";
  deepEqual(check("u:new", "u:old"), [`/d.json: ${problem}`]);
  deepEqual(check("u:new", "u:new"), []);
  deepEqual(check("u:new", "u:old", "other.example.com"), []);
  deepEqual(check("u:", "u:old"), [], "incomplete");
});
