import { doesNotMatch, equal, match } from "node:assert/strict";
import type { AgentStatus, CriProxyStatus } from "../../../lib/model/mod.ts";
import { criProxyProblem, problemsOf } from "../../../lib/observability/problems.ts";

const NOW_MS = 1_750_000_000_000;
const CRI_PROXY: CriProxyStatus = {
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
  const finding = criProxyProblem({ ...CRI_PROXY, ...parts }, NOW_MS);
  return finding && `${finding.severity}: ${finding.text}; ${finding.remedy}`;
}

Deno.test("criProxyProblem: returns nothing for a proxy that is disabled, in the path, or switched off", () => {
  equal(criProxyProblem(undefined, NOW_MS), undefined);
  equal(found({}), undefined);
  equal(found({ state: "switched-off", linkTarget: "/run/c.sock" }), undefined);
  const { idleSinceMs: _, ...connected } = CRI_PROXY;
  equal(criProxyProblem({ ...connected, openConnections: 1, connections: 1 }, NOW_MS), undefined);
});

Deno.test("criProxyProblem: explains why pulls are not observed, with the remedy", () => {
  match(
    found({ state: "bypassed", linkTarget: "/run/c.sock" }) ?? "",
    /image.sock points to \/run\/c.sock instead of .*cri.sock; run: nydus-auth-agent cri-proxy on$/,
  );
  const { linkTarget: _, ...nowhere } = CRI_PROXY;
  const missing = criProxyProblem({ ...nowhere, state: "bypassed" }, NOW_MS);
  match(missing?.text ?? "", /image.sock does not exist/);
  match(found({ state: "not-serving", detail: "taken" }) ?? "", /is not serving: taken; fix/);
});

Deno.test("criProxyProblem: warns when no client has been connected for two minutes", () => {
  equal(found({ idleSinceMs: NOW_MS - 119_000 }), undefined);
  const idle = { idleSinceMs: NOW_MS - 120_000, connections: 3 };
  match(
    found(idle) ?? "",
    /^warning: .* no client has been connected to the CRI proxy for 2m; restart the kubelet; .* endpoint is unix:\/\/\/run\/b\/image.sock$/,
  );
  match(
    found({ ...idle, restoredImages: 7 }) ?? "",
    /7 images were pulled through it before the agent restarted, so the kubelet is probably/,
  );
});

Deno.test("problemsOf: a read failure mentions unobserved pulls unless another provider has a credential", () => {
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
      criProxy: { ...CRI_PROXY, idleSinceMs: NOW_MS - 3_600_000 },
    } as unknown as AgentStatus;
    return problemsOf(status, NOW_MS).filter(({ code }) => code === "reads-failing")
      .map(({ remedy }) => remedy);
  };
  for (const provider of [undefined, "cri", "adopted"]) {
    match(
      remedies(provider)[0] ?? "",
      /Credentials of CRI pulls are not observed: restart the kubelet/,
    );
  }
  doesNotMatch(remedies("docker")[0] ?? "kubelet", /kubelet/);
});
