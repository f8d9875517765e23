import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { CommandCall } from "../../../lib/cli/options.ts";
import { supportBundle } from "../../../lib/cli/support_bundle.ts";
import type { Context } from "../../../lib/platform/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeHost } from "../../fakes/host.ts";

/** Returns the files of a tar archive, and checks the header of each. */
function untar(archive: string): Map<string, string> {
  const bytes = new TextEncoder().encode(archive);
  const text = (from: number, to: number) => new TextDecoder().decode(bytes.slice(from, to));
  const found = new Map<string, string>();
  let at = 0;
  for (; bytes[at] !== 0; at += 512) {
    const size = parseInt(text(at + 124, at + 135), 8);
    const header = [...bytes.slice(at, at + 512)].map((byte, i) => i >= 148 && i < 156 ? 32 : byte);
    equal(parseInt(text(at + 148, at + 154), 8), header.reduce((sum, byte) => sum + byte, 0));
    equal(text(at + 257, at + 262), "ustar");
    const name = text(at, at + 100).replaceAll("\0", "");
    found.set(name.replace(/^.*\//, ""), text(at + 512, at + 512 + size));
    at += Math.ceil(size / 512) * 512;
  }
  equal(bytes.length - at, 1_024);
  return found;
}

Deno.test("support-bundle: writes a private archive in which secrets are redacted", async () => {
  const host = Object.assign(new FakeHost(), {
    cwd: "/srv",
    env: { NYDUS_AUTH_AGENT_API_SOCKET: "off", NYDUS_AUTH_AGENT_SERVER_ADDRESS: "off" },
  });
  const files = new FakeFiles();
  const secret = `${btoa(`robot:${"s3cret".repeat(3)}`)}`;
  const processRunner = {
    run: () =>
      Promise.resolve({ kind: "exited", code: 0, stdout: `é auth=${secret} end\n`, stderr: "" }),
  };
  const context = { host, files, processRunner, clock: new FakeClock(0) } as unknown as Context;
  equal(
    await supportBundle({ context, flags: {}, args: [undefined] } as unknown as CommandCall),
    0,
  );
  const path = "/srv/nydus-auth-agent-support-19700101T000000Z.tar";
  ok(host.written.startsWith(`${path}\n`));
  equal(files.writes.at(-1)?.options.mode, 0o600);
  const parts = untar(await files.readText(path) ?? "");
  deepEqual([...parts.keys()], [
    "version.json",
    "configuration.json",
    "status.json",
    "metrics.txt",
    "log.txt",
    "checks.json",
    "permissions.txt",
  ]);
  equal(parts.get("log.txt"), "é auth=[redacted] end\n");
  equal(JSON.parse(parts.get("configuration.json") ?? "").log.level, "info");
  match(parts.get("status.json") ?? "", /failed to connect to the agent/);
  match(parts.get("permissions.txt") ?? "", /^user 0\n[^]*\n\/run\/nydus-auth-agent: missing\n/);
});
