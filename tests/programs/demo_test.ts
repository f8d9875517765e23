/** The demo on terminals of two sizes and in a pipe. The tests are ignored without tmux. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { command, pause, PROGRAM } from "../e2e/stage.ts";

const HAS_TMUX = await new Deno.Command("tmux", { args: ["-V"], stdout: "null" }).output()
  .then(({ success }) => success, () => false);
const ROW = /^(?:shop|base)\//;
const HEADINGS = /^IMAGE +PROVIDER +EXPIRES IN +STATE +READS +WITHOUT THE AGENT$/;

/** Checks the events, the last table and the summary. */
function checkEnd(lines: readonly string[]): void {
  const text = lines.join("\n");
  const events = [
    /nydusd has a new token$/,
    /(?:an old token|\d+ old tokens) expired$/,
    /the docker password is rotated/,
    /without the agent: the credential of shop\/app:v1 expired/,
  ];
  for (const event of events) {
    ok(lines.some((line) => /^ +\d+\.\d s /.test(line) && event.test(line)), `${event}\n${text}`);
  }
  match(text, /^failed reads +0 +[1-9]\d*$/m);
  match(text, /^ok: no read failed with the agent$/m);
  equal(lines.filter((line) => HEADINGS.test(line)).length, 1, text);
  equal(lines.filter((line) => ROW.test(line)).length, 3, text);
}

async function tmux(socket: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await new Deno.Command("tmux", {
    args: ["-S", socket, "-f", "/dev/null", ...args],
    env: { TERM: "xterm-256color", LC_ALL: "C.UTF-8" },
  }).output();
  return new TextDecoder().decode(stdout);
}

for (
  const { columns, rows, color } of [
    { columns: 80, rows: 24, color: true },
    { columns: 140, rows: 40, color: false },
  ]
) {
  Deno.test({
    name: `demo: shows one table below its events at ${columns}x${rows}, with color ${color}`,
    ignore: !HAS_TMUX,
    async fn() {
      const dir = await Deno.makeTempDir();
      const socket = join(dir, "tmux");
      const program = PROGRAM.map((word) => `'${word}'`).join(" ");
      const words = `env ${color ? "-u NO_COLOR" : "NO_COLOR=1"} ${program} demo; echo done; cat`;
      const size = ["-x", String(columns), "-y", String(rows)];
      try {
        await tmux(socket, "new-session", "-d", ...size, words);
        const captured = async (...flags: string[]) =>
          (await tmux(socket, "capture-pane", "-p", ...flags)).trimEnd().split("\n");
        const history = () => captured("-S", "-");
        let wasColored = false;
        for (const untilMs = Date.now() + 90_000;;) {
          const screen = await captured();
          if (screen.includes("done")) break;
          ok(Date.now() < untilMs, `the demo does not end:\n${screen.join("\n")}`);
          // A capture may see the screen while the table is redrawn.
          ok(screen.filter((line) => HEADINGS.test(line)).length <= 1, screen.join("\n"));
          ok(screen.filter((line) => ROW.test(line)).length <= 3, screen.join("\n"));
          wasColored ||= (await captured("-e")).some((line) => line.includes("\x1b[32mok"));
          await pause(200);
        }
        const lines = await history();
        checkEnd(lines);
        deepEqual(await captured("-S", "-", "-J"), lines, "a line is wrapped");
        equal(wasColored, color);
      } finally {
        await tmux(socket, "kill-server");
        await Deno.remove(dir, { recursive: true });
      }
    },
  });
}

Deno.test("demo: prints the events, the last table and the summary in a pipe", async () => {
  const { code, out, err } = await command(["demo"]);
  equal(code, 0, err);
  ok(!out.includes("\x1b"), out);
  checkEnd(out.split("\n"));
  ok(out.split("\n").every((line) => line.length < 80), out);
});
