import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { CheckFindings } from "../../../lib/cli/check_findings.ts";
import { checkCriProxy } from "../../../lib/cli/check_cri_proxy.ts";
import type { AgentConfig } from "../../../lib/config/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";

const LINK = "/run/nydus-auth-agent-cri/image.sock";
const UNIT = "/etc/systemd/system/nydus-auth-agent.service";
const TMPFILES = "/etc/tmpfiles.d/nydus-auth-agent.conf";
const K3S = "/run/k3s/containerd/containerd.sock";
const asset = (name: string) =>
  Deno.readTextFileSync(new URL(`../../../lib/assets/${name}`, import.meta.url));

/** What is said of a host that has what `install` puts there, and these files. */
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
  const found: CheckFindings = { problems: [], warnings: [], fine: [] };
  await checkCriProxy({ files }, config, found);
  return found;
}

Deno.test("checkTap: what is installed leads past the agent, to the runtime", async () => {
  const found = await hostWith({});
  deepEqual([found.problems, found.warnings], [[], []]);
  match(found.fine[0] ?? "", /^tap: .* while no agent serves$/);
  for (const cri of [{ enabled: false }, { link: undefined }] as const) {
    deepEqual(await hostWith({}, cri as object), { problems: [], warnings: [], fine: [] });
  }
});

Deno.test("checkTap: another runtime, and nobody told those who move the link", async () => {
  const { problems } = await hostWith({}, { imageServiceSocket: K3S });
  deepEqual(problems.map(({ file }) => file), [UNIT, "/etc/tmpfiles.d"]);
  match(
    problems[0]?.problem ?? "",
    /^it leads .* to \/run\/containerd\/.* when the agent has ended/,
  );
  match(problems[0]?.remedy ?? "", /^set ExecStopPost= in a drop-in/);
});

Deno.test("checkTap: a drop-in and a line for boot mend it", async () => {
  const ln = `-+/usr/bin/systemd-run --on-active=10s /bin/ln -sfn ${K3S} ${LINK}`;
  const dropIn = `[Service]\nExecStopPost=\nExecStopPost=${ln}\n`;
  const mended = await hostWith({
    [`${UNIT}.d/runtime.conf`]: dropIn,
    [TMPFILES]: `L ${LINK} - - - - ${K3S}\n`,
  }, { imageServiceSocket: K3S });
  deepEqual([mended.problems, mended.warnings], [[], []]);
  // Added and not replaced: the last command decides, as it runs last.
  const added = await hostWith({
    [`${UNIT}.d/runtime.conf`]: dropIn.replaceAll(/^Exec\w+=\n/gm, ""),
    [TMPFILES]: `L ${LINK} - - - - ${K3S}\n`,
  }, { imageServiceSocket: K3S });
  deepEqual([added.problems, added.warnings], [[], []]);
});

Deno.test("checkTap: warns of a drop-in that moves the link without a delay", async () => {
  for (const directive of ["ExecStartPre", "ExecStopPost"]) {
    const dropIn =
      `[Service]\n${directive}=-/bin/ln -sfn /run/containerd/containerd.sock ${LINK}\n`;
    const { problems, warnings } = await hostWith({ [`${UNIT}.d/old.conf`]: dropIn });
    equal(problems.length, 0);
    deepEqual(warnings.map(({ file }) => file), [UNIT]);
    ok(warnings[0]?.problem.startsWith(`${directive}= moves ${LINK} immediately: `));
  }
});

Deno.test("checkTap: a unit of one's own that does not move the link is warned of", async () => {
  const { problems, warnings } = await hostWith({
    [UNIT]: "[Service]\nExecStart=/usr/local/bin/nydus-auth-agent run\n",
    [TMPFILES]: undefined,
  });
  deepEqual(problems.map(({ file }) => file), ["/etc/tmpfiles.d"]);
  deepEqual(warnings.map(({ file }) => file), [UNIT]);
});

Deno.test("checkTap: a missing line for boot is a problem, with the command that writes it", async () => {
  const { problems, warnings } = await hostWith({ [TMPFILES]: undefined });
  deepEqual(warnings, []);
  match(problems[0]?.problem ?? "", /a kubelet that starts before the agent exits at once$/);
  match(problems[0]?.remedy ?? "", /^run: nydus-auth-agent show \S+ > \/etc\/tmpfiles\.d\/nydus-/);
});

Deno.test("checkTap: where a person runs it, the folder of the link is theirs to make", async () => {
  const bare = { [UNIT]: undefined, [TMPFILES]: undefined };
  const { warnings } = await hostWith(bare);
  deepEqual(warnings.map(({ file, problem }) => [file, problem]), [
    [LINK, "its folder does not exist"],
  ]);
  const byHand = await hostWith({ ...bare, "/run/nydus-auth-agent-cri": "" });
  deepEqual([byHand.problems, byHand.warnings], [[], []]);
});
