import { deepEqual, equal, match } from "node:assert/strict";
import { type Context, runProgram } from "../../../lib/cli/mod.ts";
import { FakeHost } from "../../fakes/host.ts";

/** The program called by the helper's name. */
async function helper(...args: readonly string[]) {
  const host = Object.assign(new FakeHost(), { calledAs: "docker-credential-nydus-auth", args });
  const code = await runProgram({ host } as unknown as Context);
  equal(host.complained, "", "the protocol knows the standard output only");
  return { code, out: host.written };
}

const USAGE = "Usage: docker-credential-nydus-auth <store|get|erase|list|version>\n";

Deno.test("the helper answers like docker's own where it is not asked for a credential", async () => {
  deepEqual(await helper(), { code: 1, out: USAGE });
  deepEqual(await helper("get", "more"), { code: 1, out: USAGE });
  for (const flag of ["--help", "-h"]) deepEqual(await helper(flag), { code: 0, out: USAGE });
  for (const word of ["version", "--version", "-v"]) {
    const { code, out } = await helper(word);
    equal(code, 0);
    match(out, /^docker-credential-nydus-auth \(nydus-auth-agent\) \S+\n$/);
  }
  deepEqual(await helper("si\x1bng"), {
    code: 1,
    out: "docker-credential-nydus-auth: unknown action: si\ufffdng\n",
  });
  deepEqual(await helper("get"), { code: 1, out: "no credentials server URL\n" });
  deepEqual(await helper("erase"), { code: 1, out: "no credentials server URL\n" });
});
