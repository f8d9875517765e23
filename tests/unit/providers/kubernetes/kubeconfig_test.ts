import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { formatProblem } from "../../../../lib/model/mod.ts";
import { readKubeconfigs } from "../../../../lib/providers/kubernetes/kubeconfig.ts";
import {
  type ClientConfig,
  inClusterConfig,
} from "../../../../lib/providers/kubernetes/client_config.ts";

const PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

function kubeconfig(cluster: string, user: string): string {
  return `
apiVersion: v1
kind: Config
current-context: main
contexts: [{name: main, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443", ${cluster}}}]
users: [{name: u, user: {${user}}}]
`;
}

function config(text: string, path = "/etc/k/config"): ClientConfig {
  const reading = readKubeconfigs([{ path, text }]);
  if (reading.kind === "invalid") throw new Error(reading.problems.map(formatProblem).join("\n"));
  return reading.config;
}

function problems(text: string): string[] {
  const reading = readKubeconfigs([{ path: "/f", text }]);
  return reading.kind === "invalid" ? reading.problems.map(formatProblem) : [];
}

Deno.test("readKubeconfigs: reads certificates inline and from relative paths", () => {
  const data = btoa(PEM);
  const inline = config(kubeconfig(
    `certificate-authority-data: ${data}, certificate-authority: ignored.crt`,
    `client-certificate-data: ${data}, client-key-data: ${data}`,
  ));
  for (const source of [inline.ca, inline.cert, inline.key]) {
    equal(source?.kind === "inline" && source.pem.reveal(), PEM);
  }
  const files = config(kubeconfig(
    "certificate-authority: pki/ca.crt",
    "client-certificate: /abs/tls.crt, client-key: ../tls.key",
  ));
  deepEqual([files.ca, files.cert, files.key], [
    { kind: "file", path: "/etc/k/pki/ca.crt" },
    { kind: "file", path: "/abs/tls.crt" },
    { kind: "file", path: "/etc/tls.key" },
  ]);
});

Deno.test("readKubeconfigs: reads each kind of authentication", () => {
  const auth = (text: string) => config(kubeconfig("", text)).auth;
  const token = auth("token: t1");
  equal(token.kind === "token" && token.token.reveal(), "t1");
  deepEqual(auth("tokenFile: t"), { kind: "token-file", path: "/etc/k/t" });
  const both = auth("token: t1, tokenFile: /t");
  deepEqual(both.kind === "token-file" && [both.path, both.token?.reveal()], ["/t", "t1"]);
  deepEqual(auth(""), { kind: "anonymous" });
  const basic = auth("username: me, password: pw");
  equal(basic.kind === "basic" && `${basic.username}:${basic.password.reveal()}`, "me:pw");
  const exec = auth(
    "exec: {apiVersion: client.authentication.k8s.io/v1, command: bin/login, args: [a, 1], " +
      "env: [{name: A, value: b}], provideClusterInfo: true, interactiveMode: Never, " +
      "installHint: get it}",
  );
  deepEqual(exec, {
    kind: "exec",
    exec: {
      command: "/etc/k/bin/login",
      args: ["a", "1"],
      env: { A: "b" },
      apiVersion: "client.authentication.k8s.io/v1",
      provideClusterInfo: true,
      installHint: "get it",
    },
  });
});

Deno.test("readKubeconfigs: prefers every other kind of authentication to an exec plugin", () => {
  const exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/login}";
  const kind = (more: string) => config(kubeconfig("", `${exec}, ${more}`)).auth.kind;
  deepEqual(
    ["token: t", "tokenFile: /t", "username: u", "client-certificate: /c, client-key: /k", "a: b"]
      .map(kind),
    ["token", "token-file", "basic", "anonymous", "exec"],
  );
});

Deno.test("readKubeconfigs: reads proxy, TLS and impersonation settings", () => {
  const { proxyUrl } = config(kubeconfig("proxy-url: 'http://u:p@proxy:3128'", ""));
  const { skipVerify, serverName, impersonation, server } = config(kubeconfig(
    "insecure-skip-tls-verify: true, tls-server-name: kube",
    "as: someone, as-groups: [g1, g2], as-user-extra: {Scopes: [s]}",
  ));
  deepEqual([skipVerify, serverName, server], [true, "kube", "https://10.0.0.1:6443"]);
  equal(proxyUrl?.reveal(), "http://u:p@proxy:3128");
  deepEqual(impersonation.map(([name, value]) => `${name}: ${value.reveal()}`), [
    "Impersonate-User: someone",
    "Impersonate-Group: g1",
    "Impersonate-Group: g2",
    "Impersonate-Extra-scopes: s",
  ]);
});

Deno.test("readKubeconfigs: merges files, and the first definition wins", () => {
  const first = "current-context: two\nusers: [{name: u, user: {token: first}}]";
  const second = kubeconfig("", "token: second") + "\n";
  const context = "contexts: [{name: two, context: {cluster: c, user: u}}]";
  const reading = readKubeconfigs([
    { path: "/1", text: first },
    { path: "/2", text: second },
    { path: "/3", text: context },
  ]);
  ok(reading.kind === "config");
  const { auth, origin } = reading.config;
  equal(auth.kind === "token" && auth.token.reveal(), "first");
  equal(origin, "/2");
});

Deno.test("readKubeconfigs: reports each problem with its file and place, without values", () => {
  const exec = (more: string) => kubeconfig("", `exec: {command: x, ${more}}`);
  const cases: [string, RegExp][] = [
    ["{", /^\/f: line 1, column \d+: it is not YAML or JSON/],
    ["[]", /^\/f: it is not an object/],
    ["", /^\/f: current-context: it is not set/],
    ["current-context: x", /current-context: there is no context "x"/],
    ["clusters: 3", /^\/f: clusters: it is not a list/],
    [kubeconfig("", "").replace("cluster: c,", "cluster: d,"), /there is no cluster "d"/],
    [kubeconfig("", "").replace("user: u}", "user: v}"), /there is no user "v"/],
    [kubeconfig("", "").replace("https://10.0.0.1:6443", "ftp://x"), /cluster\.server/],
    [kubeconfig("proxy-url: hunter2", ""), /proxy-url: it is not the URL of a proxy/],
    [
      kubeconfig("proxy-url: 'http://hunter2@p:1', tls-server-name: a", ""),
      /proxy-url: it cannot be used with/,
    ],
    [
      kubeconfig("certificate-authority-data: hunter2", ""),
      /authority-data: it is not a PEM text in base64/,
    ],
    [kubeconfig("", "client-certificate: /a"), /client-key: a client certificate needs both/],
    [kubeconfig("", "auth-provider: {name: gcp}"), /auth-provider/],
    [exec("apiVersion: v0"), /exec\.apiVersion: this version of the protocol/],
    [
      exec("apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always"),
      /exec\.interactiveMode: the plugin requires a terminal/,
    ],
    [
      kubeconfig("insecure-skip-tls-verify: true, certificate-authority: /ca", ""),
      /insecure-skip-tls-verify: it conflicts/,
    ],
    [kubeconfig("", "token: {hunter2: x}"), /user\.token: it is not a string/],
  ];
  for (const [text, expected] of cases) {
    const found = problems(text);
    equal(found.length, 1, text);
    match(found[0] ?? "", expected);
    doesNotMatch(found.join(), /hunter2/);
  }
});

Deno.test("readKubeconfigs: never throws", () => {
  fc.assert(fc.property(fc.jsonValue(), fc.string(), (value, text) => {
    readKubeconfigs([{ path: "/f", text }, { path: "/g", text: JSON.stringify(value) }]);
    readKubeconfigs([{ path: "/f", text: kubeconfig(`"a": ${JSON.stringify(value)}`, "") }]);
  }));
});

Deno.test("inClusterConfig: reads the environment of a pod", () => {
  const env = { KUBERNETES_SERVICE_HOST: "10.0.0.1", KUBERNETES_SERVICE_PORT: "443" };
  equal(inClusterConfig(env)?.server, "https://10.0.0.1:443");
  equal(
    inClusterConfig({ ...env, KUBERNETES_SERVICE_HOST: "fd00::1" })?.server,
    "https://[fd00::1]:443",
  );
  equal(inClusterConfig({}), undefined);
  equal(inClusterConfig({ ...env, KUBERNETES_SERVICE_PORT: "tcp" }), undefined);
  equal(inClusterConfig({ ...env, KUBERNETES_SERVICE_HOST: "a b" }), undefined);
});
