import { deepEqual, doesNotMatch, equal, match, notEqual, ok } from "node:assert/strict";
import { defined } from "../../../../lib/model/mod.ts";
import { FakeClock } from "../../../fakes/clock.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { answered, FakeKubeHttp } from "../../../fakes/kube_http.ts";
import { exited, FakeProcessRunner } from "../../../fakes/process.ts";
import { KubeClient } from "../../../../lib/providers/kubernetes/client.ts";
import {
  type AuthenticatedConnection,
  ConnectionResolver,
} from "../../../../lib/providers/kubernetes/connection.ts";

const POD = "/var/run/secrets/kubernetes.io/serviceaccount";

/** A resolver with fake files and a fake exec plugin. */
class Stage {
  readonly clock = new FakeClock();
  readonly files = new FakeFiles();
  readonly runner = new FakeProcessRunner(() => credential({ token: "from-exec" }));
  readonly resolver: ConnectionResolver;

  constructor(env: Record<string, string> = {}, kubeconfigPath?: string) {
    const { clock, files, runner: processRunner } = this;
    const options = { clock, files, processRunner, env, ...defined({ kubeconfigPath }) };
    this.resolver = new ConnectionResolver(options);
  }

  async resolved(): Promise<AuthenticatedConnection> {
    const result = await this.resolver.resolve();
    if (result.kind === "failed") {
      throw new Error(`${result.failure.reason}: ${result.failure.detail}`);
    }
    return result.connection;
  }

  async bearer(): Promise<string | undefined> {
    const { token } = await this.resolved();
    return token && `Bearer ${token.reveal()}`;
  }

  async failure(): Promise<string> {
    const result = await this.resolver.resolve();
    return result.kind === "failed"
      ? `${result.failure.reason}: ${result.failure.detail}`
      : result.kind;
  }
}

function kubeconfig(user: string, cluster = ""): string {
  return `
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://api:6443", ${cluster}}}]
users: [{name: u, user: {${user}}}]
`;
}

function credential(status: unknown, more: Record<string, unknown> = {}): string {
  const apiVersion = "client.authentication.k8s.io/v1";
  return JSON.stringify({ apiVersion, kind: "ExecCredential", status, ...more });
}

const EXEC = "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/login, " +
  "interactiveMode: Never}";

Deno.test("ConnectionResolver: follows the loading rules of client-go", async () => {
  const pod = { KUBERNETES_SERVICE_HOST: "10.0.0.1", KUBERNETES_SERVICE_PORT: "443" };
  const stage = new Stage({ ...pod, KUBECONFIG: "/listed:/ignored", HOME: "/root" });
  stage.files.set(`${POD}/token`, "pod-token");
  stage.files.set(`${POD}/ca.crt`, "CA");
  equal((await stage.resolved()).connection.server, "https://10.0.0.1:443");
  equal(await stage.bearer(), "Bearer pod-token");
  stage.files.set("/root/.kube/config", kubeconfig("token: of-home"));
  equal(await stage.bearer(), "Bearer pod-token"); // KUBECONFIG is set: $HOME is not used
  stage.files.set("/listed", kubeconfig("token: listed"));
  equal(await stage.bearer(), "Bearer listed");

  const home = new Stage({ ...pod, HOME: "/root" });
  home.files.set("/root/.kube/config", kubeconfig("token: of-home"));
  equal(await home.bearer(), "Bearer of-home");

  const named = new Stage({ ...pod, KUBECONFIG: "/listed" }, "/named");
  named.files.set("/listed", kubeconfig("token: listed"));
  named.files.set("/named", kubeconfig("token: named"));
  equal(await named.bearer(), "Bearer named");
  match(await new Stage().failure(), /^no-config-file: /);
});

Deno.test("ConnectionResolver: reads rotated files, and keeps the last valid content when that fails", async () => {
  const stage = new Stage({}, "/k/config");
  stage.files.set("/k/config", kubeconfig("tokenFile: token", "certificate-authority: ca.crt"));
  stage.files.set("/k/token", "first\n");
  stage.files.set("/k/ca.crt", "CA 1");
  const { connection } = await stage.resolved();
  equal((await stage.resolved()).connection, connection, "the same object while nothing changes");
  stage.files.set("/k/token", "second");
  equal(await stage.bearer(), "Bearer second");
  stage.files.set("/k/ca.crt", "CA 2");
  const rotated = await stage.resolved();
  notEqual(rotated.connection, connection);
  equal(rotated.connection.caPem, "CA 2");
  stage.files.set("/k/token", "");
  stage.files.remove("/k/ca.crt");
  stage.files.set("/k/config", "{half-writ");
  equal(await stage.bearer(), "Bearer second");
  equal((await stage.resolved()).connection, rotated.connection);
  stage.files.set("/k/config", kubeconfig("token: third"));
  equal(await stage.bearer(), "Bearer third");
});

Deno.test("ConnectionResolver: reports failures without quoting values", async () => {
  const stage = new Stage({}, "/k/config");
  stage.files.set("/k/config", "hunter2: [");
  match(await stage.failure(), /^invalid-config: \/k\/config: line 1/);
  stage.files.set("/k/config", kubeconfig("tokenFile: token"));
  match(await stage.failure(), /^unreadable: read \/k\/token: it is missing or empty/);
  const refusing = new Stage({}, "/k/config");
  refusing.files.refuseReading("/k/config");
  match(await refusing.failure(), /^unreadable: /);
});

Deno.test("ConnectionResolver: runs an exec plugin once until its credential expires or is invalidated", async () => {
  const stage = new Stage({}, "/k/config");
  stage.files.set(
    "/k/config",
    kubeconfig(`${EXEC.replace("exec: {", "exec: {provideClusterInfo: true, ")}`),
  );
  stage.files.set("/bin/login", "", "file");
  executable(stage);
  stage.runner.answer = () =>
    credential({
      token: `t${stage.runner.requests.length}`,
      expirationTimestamp: new Date(stage.clock.wallMs() + 60_000).toISOString(),
    });
  deepEqual(await Promise.all([stage.bearer(), stage.bearer()]), ["Bearer t1", "Bearer t1"]);
  const [request] = stage.runner.requests;
  deepEqual(JSON.parse(request?.env["KUBERNETES_EXEC_INFO"] ?? ""), {
    apiVersion: "client.authentication.k8s.io/v1",
    kind: "ExecCredential",
    spec: { interactive: false, cluster: { server: "https://api:6443", config: null } },
  });
  await stage.clock.advance(49_999);
  equal(await stage.bearer(), "Bearer t1");
  await stage.clock.advance(1); // ten seconds before its expiry
  equal(await stage.bearer(), "Bearer t2");
  equal(await stage.bearer(), "Bearer t2");
  stage.resolver.invalidate();
  equal(await stage.bearer(), "Bearer t3");
});

Deno.test("ConnectionResolver: uses the certificate of an exec plugin", async () => {
  const stage = new Stage({}, "/k/config");
  stage.files.set("/k/config", kubeconfig(EXEC));
  executable(stage);
  stage.runner.answer = () => credential({ clientCertificateData: "CERT", clientKeyData: "KEY" });
  const { connection, token } = await stage.resolved();
  deepEqual([connection.certPem, connection.keyPem?.reveal(), token], ["CERT", "KEY", undefined]);
  equal((await stage.resolved()).connection, connection);
});

Deno.test("ConnectionResolver: backs off after an exec plugin fails, and does not quote its output", async () => {
  const cases: [FakeProcessRunner["answer"], RegExp][] = [
    [() => exited("hunter2", 3), /"\/bin\/login": it exited with code 3/],
    [() => "hunter2", /its output is not an ExecCredential/],
    [() => credential({}), /neither a token nor a certificate/],
    [() => credential({ token: "t" }, { apiVersion: "v0" }), /does not have version/],
    [() => credential({ token: "t" }, { kind: "x" }), /not an ExecCredential/],
    [() => ({ kind: "timed-out", stderr: "hunter2" }), /it was stopped after 60 s/],
    [() => ({ kind: "not-started", reason: "other" }), /it is not executable/],
  ];
  for (const [answer, expected] of cases) {
    const stage = new Stage({}, "/k/config");
    stage.files.set("/k/config", kubeconfig(EXEC));
    executable(stage);
    stage.runner.answer = answer;
    const failure = await stage.failure();
    match(failure, /^source-refused: run credential plugin/);
    match(failure, expected);
    doesNotMatch(failure, /hunter2/);
    match(await stage.failure(), /it failed recently, next attempt in/);
    equal(stage.runner.requests.length, 1);
    await stage.clock.advance(5_000);
    stage.runner.answer = () => credential({ token: "t" });
    equal(await stage.bearer(), "Bearer t");
  }
  const missing = new Stage({}, "/k/config");
  missing.files.set("/k/config", kubeconfig(EXEC));
  match(await missing.failure(), /it is not installed/);
  ok(missing.runner.requests.length === 0);
});

Deno.test("KubeClient: sends the token, and retries a 401 once with the current one", async () => {
  const stage = new Stage({}, "/k/config");
  stage.files.set("/k/config", kubeconfig("tokenFile: token"));
  stage.files.set("/k/token", "old");
  const http = new FakeKubeHttp(() => {
    stage.files.set("/k/token", "new");
    return answered({}, 401);
  });
  const client = new KubeClient(http, stage.resolver);
  const result = await client.call({ verb: "list", resource: "pods" });
  equal(result.kind === "failed" && result.failure.reason, "source-refused");
  const tokens = http.requests.map(({ headers }) =>
    headers.find(([name]) => name === "Authorization")?.[1].reveal()
  );
  deepEqual(tokens, ["Bearer old", "Bearer new"]);
});

/** Makes the plugin executable: FakeFiles gives every file the mode 0600. */
function executable({ files }: Stage): void {
  files.set("/bin/login");
  const stat = files.stat.bind(files);
  files.stat = async (path) => {
    const found = await stat(path);
    return found && path === "/bin/login" ? { ...found, mode: 0o755 } : found;
  };
}
