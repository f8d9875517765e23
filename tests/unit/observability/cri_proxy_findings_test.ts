import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import type { AgentStatus, CriProxyStatus } from "../../../lib/model/mod.ts";
import { findingsOf } from "../../../lib/observability/findings.ts";
import { criProxyFindings } from "../../../lib/observability/cri_proxy_findings.ts";

const NOW_MS = 1_750_000_000_000;
const TAP: CriProxyStatus = {
  state: "in-path",
  socket: "/run/a/cri.sock",
  link: "/run/b/image.sock",
  linkTarget: "/run/a/cri.sock",
  idleSinceMs: NOW_MS - 60_000,
  restoredImages: 0,
  openConnections: 0,
  connections: 0,
  refusedConnections: 0,
  bytesToRuntime: 0,
  bytesToClients: 0,
  pulls: 0,
  lostReadings: 0,
  skippedMessages: 0,
};

function found(parts: Partial<CriProxyStatus>) {
  const [finding, ...others] = criProxyFindings({ ...TAP, ...parts }, NOW_MS);
  equal(others.length, 0);
  return finding && `${finding.level}: ${finding.text}; ${finding.remedy}`;
}

Deno.test("tapFindings says nothing of a CRI proxy that is off, in the path, or taken out of it", () => {
  deepEqual(criProxyFindings(undefined, NOW_MS), []);
  equal(found({}), undefined);
  equal(found({ state: "switched-off", linkTarget: "/run/c.sock" }), undefined);
  const { idleSinceMs: _, ...connected } = TAP;
  deepEqual(criProxyFindings({ ...connected, openConnections: 1, connections: 1 }, NOW_MS), []);
});

Deno.test("tapFindings says why pulls are not seen, and what to do", () => {
  match(
    found({ state: "bypassed", linkTarget: "/run/c.sock" }) ?? "",
    /image.sock leads to \/run\/c.sock, not to .*cri.sock; run: nydus-auth-agent cri-proxy on$/,
  );
  const { linkTarget: _, ...nowhere } = TAP;
  const [missing] = criProxyFindings({ ...nowhere, state: "bypassed" }, NOW_MS);
  match(missing?.text ?? "", /image.sock is not there/);
  match(found({ state: "not-serving", detail: "taken" }) ?? "", /does not serve: taken; mend/);
});

Deno.test("tapFindings: warns when no client has been connected for two minutes, and says what to do", () => {
  equal(found({ idleSinceMs: NOW_MS - 119_000 }), undefined);
  const idle = { idleSinceMs: NOW_MS - 120_000, connections: 3 };
  match(
    found(idle) ?? "",
    /^warning: .* no client has been connected to the CRI proxy for 2m; restart the kubelet; .* endpoint is unix:\/\/\/run\/b\/image.sock$/,
  );
  match(
    found({ ...idle, restoredImages: 7 }) ?? "",
    /7 images were pulled through it before the agent's last restart, so the kubelet is probably/,
  );
});

Deno.test("findingsOf: a read failure mentions unseen pulls, unless another source has a credential", () => {
  const image = "registry.example/team/app:v1";
  const remedies = (provider: string | undefined) => {
    const status = {
      images: [{ image, failures: 0, ...(provider && { provider }) }],
      daemons: [{
        id: "d1",
        state: "running",
        instances: [{ snapshotId: "1", image, delivery: "none", readsFailingSinceMs: NOW_MS }],
      }],
      problems: [],
      criProxy: { ...TAP, idleSinceMs: NOW_MS - 3_600_000 },
    } as unknown as AgentStatus;
    return findingsOf(status, NOW_MS).filter(({ area }) => area === "reads").map(({ remedy }) =>
      remedy
    );
  };
  for (const provider of [undefined, "cri", "adopted"]) {
    match(remedies(provider)[0] ?? "", /CRI pulls are not seen: restart the kubelet/);
  }
  doesNotMatch(remedies("docker")[0] ?? "kubelet", /kubelet/);
});
