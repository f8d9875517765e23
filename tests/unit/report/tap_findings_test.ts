import { deepEqual, equal, match } from "node:assert/strict";
import type { TapStatus } from "../../../lib/model/mod.ts";
import { tapFindings } from "../../../lib/report/tap_findings.ts";

const NOW_MS = 1_750_000_000_000;
const TAP: TapStatus = {
  state: "in-path",
  socket: "/run/a/cri.sock",
  link: "/run/b/image.sock",
  leadsTo: "/run/a/cri.sock",
  servingSinceMs: NOW_MS - 60_000,
  openConnections: 0,
  connections: 0,
  refusedConnections: 0,
  bytesToRuntime: 0,
  bytesToClients: 0,
  pulls: 0,
  lostReadings: 0,
  skippedMessages: 0,
};

function found(parts: Partial<TapStatus>) {
  const [finding, ...others] = tapFindings({ ...TAP, ...parts }, NOW_MS);
  equal(others.length, 0);
  return finding && `${finding.level}: ${finding.text}; ${finding.mend}`;
}

Deno.test("tapFindings says nothing of a tap that is off, in the path, or taken out of it", () => {
  deepEqual(tapFindings(undefined, NOW_MS), []);
  equal(found({}), undefined);
  equal(found({ state: "stepped-out", leadsTo: "/run/c.sock" }), undefined);
  equal(found({ connections: 1, servingSinceMs: NOW_MS - 3_600_000 }), undefined);
});

Deno.test("tapFindings says why pulls are not seen, and what to do", () => {
  match(
    found({ state: "bypassed", leadsTo: "/run/c.sock" }) ?? "",
    /image.sock leads to \/run\/c.sock, not to .*cri.sock; run: nydus-auth-agent tap on$/,
  );
  const { leadsTo: _, ...nowhere } = TAP;
  const [missing] = tapFindings({ ...nowhere, state: "bypassed" }, NOW_MS);
  match(missing?.text ?? "", /image.sock is not there/);
  match(found({ state: "not-serving", detail: "taken" }) ?? "", /does not serve: taken; mend/);
  match(
    found({ servingSinceMs: NOW_MS - 3_600_000 }) ?? "",
    /nobody has connected for 1h; give .*image.sock to the kubelet/,
  );
});
