/** Checks of a lane run sequentially; lanes run in parallel. */
export type Lane = "cpu" | "wait-1" | "wait-2" | "wait-3" | "wait-4";

/** A CI check. */
export interface Check {
  readonly name: string;
  readonly lane: Lane;
  readonly timeoutMinutes: number;
  /** Whether the check fails when it is skipped with `CI=true`. */
  readonly required: boolean;
  /** Names of checks that must pass first; otherwise this check is skipped. */
  readonly after?: readonly string[];
  /** Names of checks that must finish first, regardless of their result. */
  readonly afterEnd?: readonly string[];
  /**
   * A bash script. Exit code 77 means skipped; the last line is the reason. `$DENO_BIN` is the current
   * Deno, `$WORK` a temporary folder, `$BINARY` the compiled binary.
   */
  readonly run: string;
}

const PACKAGES = "packages";
const COMPILE = "compile";
const GO_TOOLS = "nfpm and crictl";
const RELEASED = "release, twice and equal";
const UNIT = "unit and conformance tests";

/** Debian packages by the program that they provide. */
const DEBIAN_PACKAGES: Readonly<Record<string, string>> = {
  "docker-registry": "docker-registry",
  openssl: "openssl",
  skopeo: "skopeo",
  faketime: "faketime",
  "docker-credential-pass": "golang-docker-credential-helpers",
  pass: "pass",
  gpg: "gnupg",
  setpriv: "util-linux",
  ip: "iproute2",
  containerd: "containerd",
  htpasswd: "apache2-utils",
  promtool: "prometheus",
  chromium: "chromium",
  "systemd-analyze": "systemd",
  "systemd-nspawn": "systemd-container",
  debootstrap: "debootstrap",
  lintian: "lintian",
  tmux: "tmux",
  readelf: "binutils",
  "qemu-aarch64-static": "qemu-user-static",
  "qemu-system-x86_64": "qemu-system-x86",
  busybox: "busybox-static",
};

/** Installs missing packages as root; each check verifies its own requirements. */
const INSTALL = `
wanted=()
${
  Object.entries(DEBIAN_PACKAGES).map(([program, name]) =>
    `command -v ${program} >/dev/null || wanted+=(${name})`
  ).join("\n")
}
[[ -e /usr/aarch64-linux-gnu/lib/libgcc_s.so.1 ]] || wanted+=(libgcc-s1-arm64-cross)
if [[ \${#wanted[@]} -gt 0 && $(id -u) -eq 0 ]]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "\${wanted[@]}" ||
    for name in "\${wanted[@]}"; do apt-get install -y -qq --no-install-recommends "$name"; done
fi
npm install -s --no-fund --no-audit --ignore-scripts --prefix "$WORK/grpc" \\
  @grpc/grpc-js@1.14.7 @grpc/proto-loader@0.8.1 || true
true`;

/** They take minutes to build, with the lowest priority. */
const INSTALL_GO_TOOLS = `${needs("go")}
export GOBIN="$WORK/bin"
nice go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
nice go install sigs.k8s.io/cri-tools/cmd/crictl@v1.34.0`;

function needs(...programs: readonly string[]): string {
  return programs.map((program) =>
    `command -v ${program} >/dev/null || { echo "program not found: ${program}"; exit 77; }`
  ).join("\n");
}

const NEEDS_ROOT = `[[ $(id -u) -eq 0 ]] || { echo "requires root"; exit 77; }`;
const NEEDS_NAMESPACES = `${NEEDS_ROOT}
unshare --mount --net --pid --fork true 2>/dev/null || { echo "requires namespaces"; exit 77; }`;

/** A matching pair of deno and denort, when it exists next to the repository. */
const KIT = `
[[ -x ../shared/tools/deno-compile-kit ]] || { echo "denort not found"; exit 77; }
kit=$(../shared/tools/deno-compile-kit)
export DENO_TLS_CA_STORE=system RUST_MIN_STACK=33554432 DENORT_BIN="$kit/denort"`;

/** Makes tests and campaigns use the compiled binary if it exists. */
const WITH_BINARY = `[[ ! -x $BINARY ]] || export NYDUS_AUTH_AGENT_BINARY="$BINARY"`;

const task = (...words: readonly string[]) => `"$DENO_BIN" task --quiet ${words.join(" ")}`;

const METRICS = `${needs("promtool", "curl")}
"$DENO_BIN" run -A --quiet main.ts run --snapshotter-config off --system-address off \\
  --snapshotter-root "$WORK/none" --address 127.0.0.1:29111 &
for try in $(seq 100); do
  curl -fsS http://127.0.0.1:29111/metrics -o "$WORK/metrics" 2>/dev/null && break
  sleep 0.2
done
kill -TERM $! && wait $! && promtool check metrics <"$WORK/metrics"`;

const ORDINARY_USER = `
if [[ $(id -u) -ne 0 ]]; then exec env -C / -i "$BINARY" demo --output json; fi
${needs("setpriv")}
chmod 755 "$WORK"; install -m 755 "$BINARY" "$WORK/nydus-auth-agent"
env -C / -i setpriv --reuid=65534 --regid=65534 --clear-groups \\
  "$WORK/nydus-auth-agent" demo --output json`;

// Only /tmp is writable, and only loopback is up. The binary is mounted at /mnt, because its build
// folder may be below the original /tmp, which the new one hides.
const SEALED = `${NEEDS_NAMESPACES}
${needs("ip")}
unshare --mount --net --pid --fork sh -c 'ip link set lo up && mount -t proc proc /proc &&
  mount --bind "$0" /mnt && mount -t tmpfs tmp /tmp && mount -o remount,bind,ro / && cd / &&
  ! touch /var/written 2>/dev/null && exec env -i "/mnt/$1" demo --output json' \\
  "$(dirname "$BINARY")" "$(basename "$BINARY")"`;

/** Builds the release into `$WORK/release`, and again from a copy of the sources. */
const RELEASE = `${KIT}
${needs("readelf")}
[[ -x $WORK/bin/nfpm ]] || { echo "nfpm not installed"; exit 77; }
[[ -e /usr/aarch64-linux-gnu/lib/libgcc_s.so.1 ]] || { echo "no libraries for aarch64"; exit 77; }
export NFPM="$WORK/bin/nfpm"
export DENORT_BIN_X86_64="$kit/denort" DENORT_BIN_AARCH64="$kit/denort-aarch64"
mkdir "$WORK/copy" && tar --exclude=./dist -cf - . | tar -xf - -C "$WORK/copy"
"$kit/deno" run -A --no-check scripts/release.ts --output "$WORK/release" &&
  cd "$WORK/copy" &&
  "$kit/deno" run -A --no-check scripts/release.ts --output "$WORK/release-copy" &&
  diff "$WORK/release/SHA256SUMS" "$WORK/release-copy/SHA256SUMS" &&
  rm -r "$WORK/copy" "$WORK/release-copy" && cd "$WORK/release" && sha256sum --check SHA256SUMS`;

const LINTIAN = `${needs("lintian")}
lintian --allow-root --fail-on error "$WORK"/release/*.deb`;

/** Runs the binary in the file tree of each image. */
const IMAGE = `${NEEDS_NAMESPACES}
${needs("skopeo", "qemu-aarch64-static")}
for arch in amd64 arm64; do
  image="$WORK/image-$arch"; mkdir "$image" "$image/tree"
  skopeo copy -q --override-arch "$arch" oci-archive:"$(echo "$WORK"/release/*-image.tar)" \\
    dir:"$image/copy" || exit 1
  for blob in "$image"/copy/*; do tar -xzf "$blob" -C "$image/tree" 2>/dev/null; done
  cp "$(command -v qemu-aarch64-static)" "$image/tree/"
  [[ $arch = amd64 ]] && emulator="" || emulator=/qemu-aarch64-static
  unshare --mount --pid --fork sh -c 'mount -t proc proc "$0/proc" &&
    chroot "$0" $1 /usr/bin/nydus-auth-agent version' "$image/tree" "$emulator" || exit 1
done`;

// Loopback is the only network. The tests run from source if there is no binary.
const END_TO_END = `${NEEDS_NAMESPACES}
${needs("ip")}
"$DENO_BIN" cache --quiet tests/e2e/*_test.ts
task=test:e2e; [[ ! -x $BINARY ]] || task=test:binary
unshare --net sh -c 'ip link set lo up && exec "$DENO_BIN" task --quiet "$1"' sh "$task"`;

/** Kills and restarts the agent with nydusd and with CRI clients, far more often than `deno task test`. */
const kills = (count: number) =>
  `${WITH_BINARY}
export NYDUS_AUTH_AGENT_KILLS=${count} NYDUS_AUTH_AGENT_CRI_PROXY_RESTARTS=${count}
"$DENO_BIN" test -A --quiet --no-check tests/e2e/restart_test.ts tests/e2e/cri_restart_test.ts`;

const UNITS = `${needs("systemd-analyze")}
mkdir "$WORK/units"
for unit in lib/assets/*.service; do
  # The binary is not installed here; everything else is checked unmodified.
  sed -E 's#^(Exec[A-Za-z]+=[-+!@:]*)/usr/local/bin/nydus-auth-agent#\\1/bin/true#' "$unit" \\
    >"$WORK/units/$(basename "$unit")"
  systemd-analyze verify "$WORK/units/$(basename "$unit")" || exit 1
done
systemd-analyze security --offline=true --threshold=19 "$WORK/units/nydus-auth-agent.service" &&
  systemd-analyze security --offline=true --threshold=15 \\
    "$WORK/units/nydus-auth-agent-own-user.service"`;

// The package has the schemas of every Kubernetes version; kubeconform needs absolute references.
const CHART = `${needs("go")}
python3 -m venv --help >/dev/null 2>&1 || { echo "python3 has no venv module"; exit 77; }
export GOBIN="$WORK/go" GOFLAGS=-buildvcs=false
nice go install helm.sh/helm/v3/cmd/helm@v3.19.0 &&
  nice go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0 &&
  python3 -m venv "$WORK/venv" &&
  "$WORK/venv/bin/pip" install -q --only-binary :all: kubernetes-validate ||
  { echo "helm, kubeconform or the Kubernetes schemas cannot be downloaded"; exit 77; }
export HELM="$GOBIN/helm" KUBECONFORM="$GOBIN/kubeconform" KUBE_SCHEMAS="$WORK/schemas"
mkdir "$KUBE_SCHEMAS"
for folder in "$WORK"/venv/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema/*-local-strict; do
  cp -r "$folder" "$KUBE_SCHEMAS"
  sed -i "s#\\"/api/_definitions.json#\\"file://$KUBE_SCHEMAS/$(basename "$folder")/_definitions.json#" \\
    "$KUBE_SCHEMAS/$(basename "$folder")"/*.json
done
${task("chart --check")}`;

const WORKFLOWS = `${needs("go")}
GOBIN="$WORK/go" GOFLAGS=-buildvcs=false nice go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 ||
  { echo "actionlint cannot be downloaded"; exit 77; }
"$WORK/go/actionlint" .github/workflows/*.yml`;

const PROGRAMS = `${NEEDS_ROOT}
${needs("containerd", "docker-registry", "htpasswd")}
[[ -d $WORK/grpc ]] || { echo "gRPC client not installed"; exit 77; }
${WITH_BINARY}
export NYDUS_AUTH_AGENT_GRPC_MODULES="$WORK/grpc" PATH="$PATH:$WORK/bin"
${
  task(
    "test:programs --ignore=tests/programs/systemd_test.ts,tests/programs/packages_test.ts,tests/programs/demo_test.ts",
  )
}`;

const DEMO = `${needs("tmux")}
${WITH_BINARY}
"$DENO_BIN" test -A --quiet --no-check tests/programs/demo_test.ts`;

// The test is ignored where it cannot boot a machine.
const SYSTEMD = `${WITH_BINARY}
"$DENO_BIN" test -A --no-check tests/programs/systemd_test.ts`;

const PACKAGES_INSTALLED = `
export NYDUS_AUTH_AGENT_RELEASE="$WORK/release" NYDUS_AUTH_AGENT_BINARY="$BINARY"
"$DENO_BIN" test -A --no-check tests/programs/packages_test.ts`;

function check(
  name: string,
  lane: Lane,
  timeoutMinutes: number,
  run: string,
  more: Pick<Check, "after" | "afterEnd"> & { readonly optional?: true } = {},
): Check {
  const { optional, ...order } = more;
  return { name, lane, timeoutMinutes, run, required: optional === undefined, ...order };
}

const installed = { afterEnd: [PACKAGES] };
const compiled = { after: [COMPILE] };
const released = { after: [RELEASED] };
/** For checks that use the binary if the compilation passed, and run from source otherwise. */
const beside = { afterEnd: [PACKAGES, COMPILE] };

/** Checks that must pass before a change is merged: at most 15 minutes on two cores. */
export const CHECKS: readonly Check[] = [
  check(PACKAGES, "wait-1", 10, INSTALL),
  check(COMPILE, "cpu", 6, `${KIT}\n"$kit/deno" run -A scripts/compile.ts`),
  check("types", "cpu", 5, task("check")),
  check(UNIT, "cpu", 10, task("test:unit"), installed),
  check("end-to-end tests, loopback only", "cpu", 15, END_TO_END, beside),
  check("extended tests", "cpu", 12, task("test:extended"), installed),
  check("format and lint", "cpu", 3, task("lint")),
  check("import rules", "cpu", 2, task("arrows")),
  check("retired terms", "cpu", 2, task("terms")),
  check("examples in comments", "cpu", 4, task("test:doc")),
  check(
    "second Deno version: conformance and platform",
    "cpu",
    4,
    `${KIT}\n"$kit/deno" test -A --quiet --no-check tests/conformance tests/unit/platform`,
  ),
  ...([1, 2] as const).map((shard) =>
    check(
      `fault campaign, shard ${shard} of 2`,
      `wait-${shard}`,
      15,
      `${WITH_BINARY}
export NYDUS_AUTH_AGENT_KILLS=20\n${task(`test:faults --seed 1 --shard ${shard}/2`)}`,
      beside,
    )
  ),
  check("soak", "wait-1", 8, `${WITH_BINARY}\n${task("soak --minutes 2 --seed 1")}`, beside),
  check("refused is renewed", "wait-1", 8, task("measure:refused"), beside),
  check("killed 80 times", "wait-2", 10, kills(20), beside),
  check("programs of others", "wait-2", 12, PROGRAMS, {
    afterEnd: [PACKAGES, COMPILE, GO_TOOLS],
  }),
  check(GO_TOOLS, "wait-3", 10, INSTALL_GO_TOOLS, { optional: true }),
  check(
    "the campaign notices broken agents",
    "wait-3",
    15,
    `DENO_JOBS=3 "$DENO_BIN" test -A --quiet --no-check --parallel tests/faults`,
    beside,
  ),
  check(RELEASED, "wait-4", 10, RELEASE, { afterEnd: [PACKAGES, GO_TOOLS] }),
  check("service under systemd", "wait-4", 12, SYSTEMD, { ...beside, optional: true }),
  check("packages under systemd", "wait-4", 8, PACKAGES_INSTALLED, { ...released, optional: true }),
  check("pages in Chromium", "wait-3", 5, `${needs("chromium")}\n${task("test:browser")}`, beside),
  check("demo", "wait-3", 4, DEMO, beside),
  check("binary as an ordinary user", "wait-2", 3, ORDINARY_USER, compiled),
  check("binary on a sealed host", "wait-2", 3, SEALED, { ...compiled, ...installed }),
  check("lintian", "wait-4", 3, LINTIAN, released),
  check("container images", "wait-4", 3, IMAGE, released),
  check("metrics", "wait-2", 3, METRICS, installed),
  check(
    "alert rules",
    "wait-2",
    3,
    `${needs("promtool")}\npromtool check rules lib/assets/chart/files/prometheus-rules.yaml &&
  promtool test rules tests/alerts/rules.test.yaml`,
    installed,
  ),
  check("systemd units", "wait-2", 3, UNITS, installed),
  check("Helm chart and manifest", "wait-3", 12, CHART, { optional: true }),
  check("workflows", "wait-3", 5, WORKFLOWS, { optional: true }),
  check("supply chain", "wait-2", 3, task("supply-chain")),
  // The registry of a build machine may not serve security advisories (exit code 77).
  check("known vulnerabilities", "wait-2", 3, task("supply-chain --audit"), { optional: true }),
  check("deno.lock is unchanged", "wait-2", 1, "git diff --exit-code -- deno.json deno.lock", {
    afterEnd: [UNIT, COMPILE],
  }),
];

/**
 * Runs the demo of the other architecture's binary. The demo starts itself, so the kernel must know
 * the emulator; a user namespace has a binfmt_misc of its own.
 */
const EMULATED_DEMO = `${NEEDS_NAMESPACES}
${needs("qemu-aarch64-static", "ip")}
${KIT}
export DENORT_BIN="$kit/denort-aarch64" DEMO=dist/nydus-auth-agent-aarch64-unknown-linux-gnu
"$kit/deno" run -A scripts/compile.ts --target aarch64-unknown-linux-gnu || exit 1
export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu NYDUS_DEMO_PACE=20
unshare --user --map-root-user --mount --net --pid --fork bash -c '
  ip link set lo up && mount -t proc proc /proc &&
  mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || { echo "requires binfmt_misc"; exit 77; }
  zeros="\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00\\\\x00"
  ones="\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\x00\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff\\\\xff"
  printf %s ":arm64:M::\\\\x7fELF\\\\x02\\\\x01\\\\x01\\\\x00$zeros\\\\x02\\\\x00\\\\xb7\\\\x00:$ones\\\\xfe\\\\xff\\\\xff\\\\xff:$(command -v qemu-aarch64-static):OPF" \\
    >/proc/sys/fs/binfmt_misc/register
  exec "$DEMO" demo --output json'`;

/** Tests the service on a kernel of its own, in an emulated machine. */
const GUEST = `${NEEDS_NAMESPACES}
${needs("qemu-system-x86_64", "busybox", "mke2fs", "apt-get")}
${WITH_BINARY}
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: //p")
(cd "$WORK" && apt-get download -qq "$package" && dpkg -x linux-image-*.deb kernel) ||
  { echo "no kernel package"; exit 77; }
NYDUS_TEST_KERNEL="$WORK/kernel" "$DENO_BIN" test -A --no-check tests/programs/guest_test.ts`;

/** The long checks of `deno task nightly`. */
export const NIGHTLY: readonly Check[] = [
  check(PACKAGES, "wait-1", 10, INSTALL),
  check(COMPILE, "cpu", 6, `${KIT}\n"$kit/deno" run -A scripts/compile.ts`),
  check("20 runs of the tests", "cpu", 90, task("test:repeat 20"), installed),
  check("5 runs of the tests under load", "cpu", 60, task("test:repeat 5 --load"), installed),
  check(
    "second Deno version: all tests",
    "cpu",
    30,
    `${KIT}\n"$kit/deno" test -A --quiet --no-check tests/unit tests/conformance tests/e2e`,
    installed,
  ),
  check(
    "mutation testing",
    "cpu",
    240,
    task(
      "mutate --packages model,credentials,reconciler,delivery,discovery,providers,verification,cri,platform,config,api --count 300 --seed 1",
    ),
  ),
  check("service on its own kernel", "cpu", 25, GUEST, { ...beside, optional: true }),
  check("demo on emulated aarch64", "cpu", 25, EMULATED_DEMO, installed),
  check(
    "the kubelet's plugin code",
    "wait-3",
    30,
    `${needs("go")}
${WITH_BINARY}
NYDUS_TEST_KUBELET=v1.37.2 "$DENO_BIN" test -A --no-check tests/programs/kubelet_test.ts`,
    { ...beside, optional: true },
  ),
  check("CRI proxy beside a plain proxy", "cpu", 10, task("bench:cri-proxy")),
  ...[1, 2, 3, 4, 5].map((seed) =>
    check(
      `fault campaign, seed ${seed}`,
      "wait-1",
      20,
      `${WITH_BINARY}\n${task(`test:faults --seed ${seed}`)}`,
      beside,
    )
  ),
  check("soak, an hour", "wait-2", 75, `${WITH_BINARY}\n${task("soak --minutes 60")}`, beside),
  check("killed 800 times", "wait-2", 60, kills(200), beside),
  check(
    "memory stays flat",
    "wait-2",
    30,
    `${WITH_BINARY}\n${task("soak:memory --hours 24 --minutes 10")}`,
    beside,
  ),
];
