import { strictEqual } from "node:assert/strict";
import { outageSentence } from "../../../lib/cli/outage.ts";

const NOW = Date.UTC(2026, 0, 1);
const HOUR = 3_600_000;
const calm = { image: "r.example/a:1", mounts: 3, failures: 0, readsEndAtMs: NOW + 9 * HOUR };
const dying = { image: "r.example/b:1", mounts: 2, failures: 40, readsEndAtMs: NOW + HOUR };
const unknown = { image: "r.example/c:1", mounts: 1, failures: 4 };

Deno.test("outageSentence: whether it holds, and if not, what fails first and how long", () => {
  const say = (images: Parameters<typeof outageSentence>[0]["images"]) =>
    outageSentence({ nowMs: NOW, downMs: 6 * HOUR, images });
  const premise = "if every source were silent for 6h from now on, ";
  strictEqual(say([calm]), `${premise}all 3 mounts would go on reading`);
  strictEqual(
    say([unknown, calm]),
    `${premise}all 4 mounts would go on reading; of 1 no end is known`,
  );
  strictEqual(
    say([{ ...calm, failingMs: HOUR }, { ...dying, failingMs: 5 * HOUR }, unknown]),
    `${premise}5 of 6 mounts would fail to read, the first in 1h (r.example/b:1), for 5h at the ` +
      "longest; of 1 no end is known",
  );
  strictEqual(
    say([{ ...dying, readsEndAtMs: NOW - HOUR, failingMs: 6 * HOUR }]),
    `${premise}2 of 2 mounts would fail to read, the first in 0ms (r.example/b:1), for 6h at ` +
      "the longest",
  );
});
