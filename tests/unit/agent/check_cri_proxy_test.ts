import { deepEqual, match } from "node:assert/strict";
import type { CheckFindings } from "../../../lib/agent/check_node.ts";
import { checkCriProxy } from "../../../lib/agent/check_node.ts";
import type { AgentConfig } from "../../../lib/config/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";

const LINK = "/run/nydus-auth-agent-cri/image.sock";
const UNIT = "/etc/systemd/system/nydus-auth-agent.service";
const TMPFILES = "/etc/tmpfiles.d/nydus-auth-agent.conf";
const K3S = "/run/k3s/containerd/containerd.sock";
const asset = (name: string) =>
  Deno.readTextFileSync(new URL(`../../../lib/assets/${name}`, import.meta.url));

/** Checks a host with the files of `install`, of which some are changed. */
async function hostWith(
  changed: Readonly<Record<string, string | undefined>>,
  cri: Partial<AgentConfig["providers"]["cri"]> = {},
): Promise<CheckFindings> {
  const files = new FakeFiles();
  const installed = {
    [UNIT]: asset("nydus-auth-agent.service"),
    [TMPFILES]: asset("nydus-auth-agent.tmpfiles.conf"),
  };
  for (const [path, text] of Object.entries({ ...installed, ...changed })) {
    if (text !== undefined) files.set(path, text);
  }
  const config = {
    providers: {
      cri: {
        enabled: true,
        link: LINK,
        imageServiceSocket: "/run/containerd/containerd.sock",
        ...cri,
      },
    },
  } as unknown as AgentConfig;
  const found: CheckFindings = { problems: [], warnings: [], passed: [] };
  await checkCriProxy({ files }, config, found);
  return found;
}

Deno.test("checkCriProxy: accepts the installed files, which point to the container runtime", async () => {
  const found = await hostWith({});
  deepEqual([found.problems, found.warnings], [[], []]);
  match(found.passed[0] ?? "", /^CRI proxy: .* while no agent serves$/);
  for (const cri of [{ enabled: false }, { link: undefined }] as const) {
    deepEqual(await hostWith({}, cri as object), { problems: [], warnings: [], passed: [] });
  }
});

Deno.test("checkCriProxy: reports files that point to another container runtime", async () => {
  const { problems } = await hostWith({}, { imageServiceSocket: K3S });
  deepEqual(problems.map(({ file }) => file), [UNIT, "/etc/tmpfiles.d"]);
  match(
    problems[0]?.problem ?? "",
    /^it points .* to \/run\/containerd\/.* when the agent has stopped/,
  );
  match(problems[0]?.remedy ?? "", /^set ExecStopPost= in a drop-in/);
});

Deno.test("checkCriProxy: accepts a drop-in and a tmpfiles line for another container runtime", async () => {
  const ln = `-+/usr/bin/systemd-run --on-active=10s /bin/ln -sfn ${K3S} ${LINK}`;
  const dropIn = `[Service]\nExecStopPost=\nExecStopPost=${ln}\n`;
  const fixed = await hostWith({
    [`${UNIT}.d/runtime.conf`]: dropIn,
    [TMPFILES]: `L ${LINK} - - - - ${K3S}\n`,
  }, { imageServiceSocket: K3S });
  deepEqual([fixed.problems, fixed.warnings], [[], []]);
  // Without a reset the command is added; the last one runs last, and decides.
  const added = await hostWith({
    [`${UNIT}.d/runtime.conf`]: dropIn.replaceAll(/^Exec\w+=\n/gm, ""),
    [TMPFILES]: `L ${LINK} - - - - ${K3S}\n`,
  }, { imageServiceSocket: K3S });
  deepEqual([added.problems, added.warnings], [[], []]);
});

Deno.test("checkCriProxy: warns about a unit that does not move the link", async () => {
  const { problems, warnings } = await hostWith({
    [UNIT]: "[Service]\nExecStart=/usr/local/bin/nydus-auth-agent run\n",
    [TMPFILES]: undefined,
  });
  deepEqual(problems.map(({ file }) => file), ["/etc/tmpfiles.d"]);
  deepEqual(warnings.map(({ file }) => file), [UNIT]);
});

Deno.test("checkCriProxy: reports a missing tmpfiles line, with the command that creates it", async () => {
  const { problems, warnings } = await hostWith({ [TMPFILES]: undefined });
  deepEqual(warnings, []);
  match(problems[0]?.problem ?? "", /a kubelet that starts before the agent exits at once$/);
  match(problems[0]?.remedy ?? "", /^run: nydus-auth-agent show \S+ > \/etc\/tmpfiles\.d\/nydus-/);
});

Deno.test("checkCriProxy: without a unit, warns only when the folder of the link is missing", async () => {
  const bare = { [UNIT]: undefined, [TMPFILES]: undefined };
  const { warnings } = await hostWith(bare);
  deepEqual(warnings.map(({ file, problem }) => [file, problem]), [
    [LINK, "its folder does not exist"],
  ]);
  const manual = await hostWith({ ...bare, "/run/nydus-auth-agent-cri": "" });
  deepEqual([manual.problems, manual.warnings], [[], []]);
});
