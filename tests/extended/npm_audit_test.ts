import { deepEqual, equal, match, ok } from "node:assert/strict";
import { npmAudit, npmLock, readAudit } from "../../scripts/lib/npm_audit.ts";

const PACKAGES = [{ name: "hono", version: "1.0.0" }, { name: "@a/b", version: "2.0.0" }];
const hasNpm = await new Deno.Command("npm", { args: ["--version"], stdout: "null" }).output()
  .then(({ success }) => success, () => false);

/** Runs a loopback registry with the given advisories, or without advisory support. */
async function withRegistry(
  advisories: unknown,
  run: (settings: Record<string, string>, requests: unknown[]) => Promise<void>,
): Promise<void> {
  const requests: unknown[] = [];
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      if (request.method !== "POST" || advisories === undefined) {
        return Response.json({}, { status: request.method === "POST" ? 405 : 404 });
      }
      const unpacked = request.body?.pipeThrough(new DecompressionStream("gzip"));
      requests.push(await new Response(unpacked).json());
      return Response.json(advisories);
    },
  );
  await run({
    npm_config_registry: `http://127.0.0.1:${server.addr.port}/`,
    npm_config_cache: await Deno.makeTempDir({ prefix: "npm-cache-" }),
    npm_config_update_notifier: "false",
  }, requests);
}

Deno.test("npmLock: contains two versions of one package", () => {
  const lock = npmLock([...PACKAGES, { name: "hono", version: "9.0.0" }]) as {
    readonly packages: Readonly<Record<string, unknown>>;
  };
  deepEqual(lock.packages["node_modules/locked-0"], PACKAGES[0]);
  deepEqual(lock.packages["node_modules/locked-2"], { name: "hono", version: "9.0.0" });
});

Deno.test({
  name: "npmAudit: finds a vulnerability, and returns clean only after a successful request",
  ignore: !hasNpm,
  fn: async () => {
    const advisory = {
      id: 1,
      url: "https://example.com/advisory",
      title: "It leaks",
      severity: "high",
      vulnerable_versions: "<5.0.0",
    };
    await withRegistry({ hono: [advisory] }, async (settings, requests) => {
      const found = await npmAudit(PACKAGES, settings);
      equal(found.kind, "vulnerable");
      ok(found.kind === "vulnerable" && found.findings.some((line) => line.includes("It leaks")));
      deepEqual(requests[0], { hono: ["1.0.0"], "@a/b": ["2.0.0"] });
    });
    await withRegistry({}, async (settings) => {
      deepEqual(await npmAudit(PACKAGES, settings), { kind: "clean", packages: 2 });
    });
    await withRegistry(undefined, async (settings) => {
      const { kind } = await npmAudit(PACKAGES, settings);
      equal(kind, "unavailable");
    });
  },
});

Deno.test("readAudit: accepts only a complete report, and does not return host names", () => {
  for (const text of ["", "{}", "null", "[]", '{"auditReportVersion": 2}', "half {"]) {
    equal(readAudit(text, PACKAGES).kind, "unavailable", text);
  }
  const refused = readAudit(
    '{"message": "405 Method Not Allowed - POST https://registry.example.com/-/npm"}',
    PACKAGES,
  );
  ok(refused.kind === "unavailable");
  match(refused.reason, /405/);
  equal(refused.reason.includes("example"), false);
});
