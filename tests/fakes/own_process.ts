import { equal, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";

/**
 * Defines a test that runs in a process of its own, because it changes what all tests of a process
 * share, such as the environment.
 *
 * @param module `import.meta.url` of the test's file.
 */
export function testInOwnProcess(module: string, name: string, run: () => Promise<void>): void {
  const variable = "NYDUS_TEST_IN_OWN_PROCESS";
  const isOwn = Deno.env.get(variable) === name;
  Deno.test(
    name,
    isOwn ? run : async () => {
      const { code, stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["test", "-A", "--quiet", "--no-check", "--filter", name, fileURLToPath(module)],
        env: { [variable]: name, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
        stdin: "null",
        stderr: "null",
      }).output();
      const output = new TextDecoder().decode(stdout);
      equal(code, 0, output);
      ok(output.includes("1 passed"), output);
    },
  );
}
