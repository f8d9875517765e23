import { deepEqual, equal, ok } from "node:assert/strict";
import { runCampaign, seeded, shuffled } from "./campaign.ts";
import { FAULTS } from "./faults.ts";

Deno.test("a campaign notices each of its invariants being broken", async () => {
  const rows = await runCampaign([
    {
      name: "a field is lost",
      lastsMs: 0,
      begin: (stage) =>
        Promise.resolve(() => {
          const path = stage.daemon("d2").instances[0]?.configPath ?? "";
          const config = JSON.parse(Deno.readTextFileSync(path));
          delete config.device.backend.config.a_field_of_tomorrow;
          Deno.writeTextFileSync(path, JSON.stringify(config));
        }),
    },
    {
      name: "a read fails that could have succeeded",
      lastsMs: 2_000,
      begin: ({ node }) => {
        const [user = "", token = ""] = (node.tokenRegistry.newestToken() ?? "").split(":");
        node.tokenRegistry.revoke(user, token);
        return Promise.resolve(() => {});
      },
    },
  ]);
  const broken = rows.filter(({ result }) => result === "broken").map(({ name }) => name);
  ok(broken.includes("a field is lost"), JSON.stringify(rows));
  ok(broken.includes("a read fails that could have succeeded"), JSON.stringify(rows));
});

Deno.test("a seed decides the order of the faults", () => {
  const names = FAULTS.map(({ name }) => name);
  equal(new Set(names).size, names.length);
  deepEqual(shuffled(names, seeded(7)), shuffled(names, seeded(7)));
  ok(shuffled(names, seeded(7)).join() !== shuffled(names, seeded(8)).join());
  deepEqual(shuffled(names, seeded(7)).toSorted(), names.toSorted());
});
