import { deepEqual, equal, match } from "node:assert/strict";
import { parse as parseYaml } from "yaml";

const ROOT = new URL("../../../", import.meta.url);
const WORKFLOWS = ["ci.yml", "release.yml"].map((name) => ({
  name,
  text: Deno.readTextFileSync(new URL(`.github/workflows/${name}`, ROOT)),
}));

interface Job {
  readonly permissions: Readonly<Record<string, string>>;
  readonly steps: readonly { readonly uses?: string; readonly run?: string }[];
}

for (const { name, text } of WORKFLOWS) {
  const { permissions, jobs } = parseYaml(text) as {
    permissions: unknown;
    jobs: Record<string, Job>;
  };

  Deno.test(`${name}: pins every action by commit and names its version`, () => {
    const actions = text.split("\n").filter((line) => /^\s*(- )?uses:/.test(line));
    for (const line of actions) match(line, /uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  Deno.test(`${name}: only a job that checks nothing out may write`, () => {
    deepEqual(permissions, {});
    for (const { permissions, steps } of Object.values(jobs)) {
      if (!Object.values(permissions).includes("write")) continue;
      deepEqual(steps.filter(({ uses }) => uses?.startsWith("actions/checkout@")), []);
    }
  });

  Deno.test(`${name}: has the Deno version of .ci/run`, async () => {
    const run = await Deno.readTextFile(new URL(".ci/run", ROOT));
    const [, version] = /deno@([\d.]+)/.exec(run) ?? [];
    for (const [, used] of text.matchAll(/(?:deno-version|DENO_VERSION): (\d[\d.]+)/g)) {
      equal(used, version);
    }
  });
}
