import type { AgentStatus, DaemonStatus, ImageStatus } from "../../../../lib/model/mod.ts";
import { ImageHistory, ProviderStats } from "../../../../lib/observability/mod.ts";
import { daemonOf, imageOf, mountOf, NOW_MS, statusOf } from "../status_of.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Markup in place of an image, a name or an error text. */
export const HOSTILE = `"><script>alert("x")</script><img src=x onerror=alert(1)>'\u202e&amp;`;

/** The data of a page. */
export interface Stage {
  readonly status: AgentStatus;
  readonly history: ImageHistory;
}

/** Returns a node without mounts. */
export function emptyNode(): Stage {
  return { status: statusOf(sourceStats()), history: new ImageHistory(() => NOW_MS) };
}

/** Returns a healthy node with one image and one mount. */
export function oneImage(): Stage {
  const image = "registry.example.com/team/app:v1";
  const history = historyOf(image);
  return {
    history,
    status: statusOf({
      ...sourceStats(),
      images: [healthy(image)],
      daemons: [daemonOf("cq1x0", [mountOf("12", { image, deliveredAtMs: NOW_MS - HOUR_MS })], {
        version: "2.4.4",
        mode: "dedicated",
      })],
    }),
  };
}

/** Returns a node with many images in three nydusd and every kind of problem. */
export function crowdedNode(count = 1_000): Stage {
  const images = Array.from({ length: count }, (_, i) => ofKind(i));
  const daemons: DaemonStatus[] = ["alpha", "beta", "gamma"].map((id, k) =>
    daemonOf(
      id,
      images.filter((_, i) => i % 3 === k).map(({ image, provider }, i) =>
        mountOf(String(i * 3 + k), {
          image,
          delivery: provider === undefined ? "none" : i % 97 === 5 ? "refused" : "in-use",
          deliveredAtMs: NOW_MS - HOUR_MS,
        })
      ),
      { version: "2.4.4", mode: "shared" },
    )
  );
  const stopped = daemonOf("stopped", [], {
    state: "unresponsive",
    stateDetail: "no response in 2s",
  });
  const unknown = daemonOf("delta", [{
    snapshotId: "9",
    delivery: "pending",
    imageProblem: "its configuration file does not exist",
  }]);
  return {
    history: historyOf(images[0]?.image ?? ""),
    status: statusOf({ ...sourceStats(), images, daemons: [...daemons, stopped, unknown] }),
  };
}

/** Returns a node in which every text from outside is markup. */
export function hostileNode(): Stage {
  const image = HOSTILE;
  const lastFailure = { reason: "plugin-failed", detail: HOSTILE, atMs: NOW_MS } as const;
  const history = historyOf(image);
  return {
    history,
    status: statusOf({
      ...sourceStats(HOSTILE),
      version: HOSTILE,
      images: [imageOf(image, {
        failures: 1,
        lastFailure,
        origin: HOSTILE,
        pattern: HOSTILE,
        plugin: HOSTILE,
        fingerprint: HOSTILE,
      })],
      daemons: [daemonOf(HOSTILE, [
        mountOf(HOSTILE, { image, deliveryDetail: HOSTILE, delivery: "refused" }),
        { snapshotId: HOSTILE, delivery: "pending", imageProblem: HOSTILE },
      ], { stateDetail: HOSTILE, version: HOSTILE, mode: HOSTILE, source: HOSTILE })],
      problems: [{ source: "root", subject: HOSTILE, detail: HOSTILE }],
    }),
  };
}

function healthy(image: string): ImageStatus {
  return imageOf(image, {
    plugin: "ecr-credential-provider",
    pattern: "*.example.com",
    origin: "plugin ecr-credential-provider",
    renewals: { success: 7, failure: 3 },
    fingerprint: "0011aabb",
    renewedAtMs: NOW_MS - 4 * HOUR_MS,
    expiresAtMs: NOW_MS + 8 * HOUR_MS,
    refreshAtMs: NOW_MS + 2 * HOUR_MS,
    nextAttemptAtMs: NOW_MS + 3 * HOUR_MS,
  });
}

function ofKind(i: number): ImageStatus {
  const name = `registry-${i % 7}.eu-west-1.example.com/department/team-${
    i % 31
  }/service-${i}:v1.${i}`;
  const well = healthy(name);
  const lastFailure = {
    reason: "plugin-failed",
    detail: "it exited with code 1",
    atMs: NOW_MS - MINUTE_MS,
  } as const;
  const { provider: _, ...bare } = imageOf(name);
  switch (i) {
    case 0:
      return { ...well, window: "expired", expiresAtMs: NOW_MS - MINUTE_MS, lastFailure };
    case 1:
      return {
        ...well,
        window: "mandatory",
        failures: 3,
        expiresAtMs: NOW_MS + 4 * MINUTE_MS,
        lastFailure,
      };
    case 2:
      return { ...well, window: "advisory", failures: 1, lastFailure };
    case 3:
      return imageOf(name, { provider: "adopted", window: "unknown-lifetime" });
    case 4:
      return { ...bare, failures: 4, lastFailure };
    default:
      return i % 10 === 9 ? bare : { ...well, nextAttemptAtMs: NOW_MS + HOUR_MS + i * 1_000 };
  }
}

/** Returns the statistics of providers and plugins. */
function sourceStats(text = "it exited with code 1"): Partial<AgentStatus> {
  const stats = new ProviderStats(() => NOW_MS - MINUTE_MS);
  const request = { kind: "provider-queried", image: "i", durationMs: 1 } as const;
  stats.notify({
    ...request,
    provider: "docker",
    outcome: "none",
    reason: "no-entry-for-registry",
  });
  stats.notify({
    ...request,
    provider: "kubelet",
    outcome: "failed",
    reason: "plugin-failed",
    detail: text,
  });
  stats.notify({ ...request, provider: "kubesecret", outcome: "none", reason: "not-enabled" });
  const ran = { kind: "plugin-executed", provider: "kubelet", durationMs: 340 } as const;
  stats.notify({ ...ran, plugin: "ecr-credential-provider", result: "success" });
  stats.notify({ ...ran, plugin: text, result: "failure", detail: text });
  return stats.status();
}

function historyOf(image: string): ImageHistory {
  let nowMs = NOW_MS;
  const history = new ImageHistory(() => nowMs);
  const renewed = {
    kind: "credential-renewed",
    image,
    provider: "kubelet",
    changed: true,
    fingerprint: "0011aabb",
  } as const;
  for (let hours = 26; hours > 2; hours -= 4) {
    nowMs = NOW_MS - hours * HOUR_MS;
    history.notify(renewed);
  }
  nowMs = NOW_MS - HOUR_MS;
  const text = image === HOSTILE ? HOSTILE : "it exited with code 1";
  history.notify({
    kind: "provider-queried",
    provider: "docker",
    image,
    outcome: "none",
    reason: "no-entry-for-registry",
    durationMs: 1,
    notes: [{ subject: text, reason: "no-entry-for-registry", detail: text }],
  });
  for (let i = 0; i < 3; i++) {
    nowMs += MINUTE_MS;
    history.notify({
      kind: "provider-queried",
      provider: "kubelet",
      image,
      outcome: "failed",
      reason: "plugin-failed",
      detail: text,
      durationMs: 1,
    });
    history.notify({
      kind: "renewal-failed",
      image,
      provider: "kubelet",
      reason: "plugin-failed",
      detail: text,
      expired: false,
      nextAttemptAtMs: nowMs + MINUTE_MS,
    });
  }
  nowMs += MINUTE_MS;
  history.notify(renewed);
  history.notify({
    kind: "delivery-attempted",
    daemonId: "cq1x0",
    snapshotId: "12",
    image,
    outcome: { kind: "delivered", file: { kind: "written" } },
    durationMs: 3,
  });
  return history;
}
