import { deepEqual, equal, match, ok } from "node:assert/strict";
import { systemHost } from "../../../lib/platform/mod.ts";
import { reportUnhandledErrors } from "../../../lib/agent/unhandled_errors.ts";
import { AgentError } from "../../../lib/model/mod.ts";
import { FakeHost } from "../../fakes/host.ts";
import { FakeObserver } from "../../fakes/observer.ts";

function stage() {
  const observer = new FakeObserver();
  let report: (error: unknown, isFatal: boolean) => void = () => {};
  let stops = 0;
  const host = Object.assign(new FakeHost(), {
    onUnhandledError(callback: typeof report) {
      report = callback;
      return { [Symbol.dispose]: () => {} };
    },
  });
  reportUnhandledErrors(host, observer, () => stops++);
  const texts = () => observer.of("warning").map(({ text }) => text);
  return {
    report: (error: unknown, isFatal: boolean) => report(error, isFatal),
    texts,
    stops: () => stops,
  };
}

Deno.test("reportUnhandledErrors: logs a rejection and goes on, and stops after a thrown error", () => {
  const { report, texts, stops } = stage();
  report(new AgentError("io", "read x: EIO"), false);
  equal(stops(), 0);
  report(new TypeError("y"), true);
  equal(stops(), 1);
  equal(texts()[0], "unhandled error, please report it: read x: EIO");
  match(texts()[1] ?? "", /: TypeError at .*unhandled_errors_test\.ts/);
});

Deno.test("reportUnhandledErrors: quotes no text that is not ours", () => {
  const { report, texts } = stage();
  report(
    new SyntaxError("Unexpected token 'h', \"hunter2\" is not valid JSON\n at hunter2"),
    false,
  );
  report("hunter2", false);
  report({ password: "hunter2" }, false);
  equal(texts().length, 3);
  ok(!texts().join().includes("hunter2"), texts().join("\n"));
});

Deno.test("systemHost: reports rejections that nothing handled, and reads the limit of files", async () => {
  const seen: unknown[] = [];
  const host = systemHost();
  {
    using _reporting = host.onUnhandledError((error, isFatal) => seen.push([error, isFatal]));
    void Promise.reject("left alone");
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  deepEqual(seen, [["left alone", false]]);
  const limit = await host.descriptorLimit();
  ok(limit >= 256, String(limit));
});
