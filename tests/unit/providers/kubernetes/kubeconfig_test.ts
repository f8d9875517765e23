import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import fc from "fast-check";
import { formatProblem } from "../../../../lib/model/mod.ts";
import {
  type ClientConfig,
  inClusterConfig,
  readKubeconfig,
} from "../../../../lib/providers/kubernetes/kubeconfig.ts";

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
  const reading = readKubeconfig(text, path);
  if (reading.kind === "invalid") throw new Error(reading.problems.map(formatProblem).join("\n"));
  return reading.config;
}

function problems(text: string): string[] {
  const reading = readKubeconfig(text, "/f");
  return reading.kind === "invalid" ? reading.problems.map(formatProblem) : [];
}

Deno.test("readKubeconfig: reads certificates inline and from relative paths", () => {
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

Deno.test("readKubeconfig: reads each kind of authentication", () => {
  const auth = (text: string) => config(kubeconfig("", text)).auth;
  const token = auth("token: t1");
  equal(token.kind === "token" && token.token.reveal(), "t1");
  deepEqual(auth("tokenFile: t"), { kind: "token-file", path: "/etc/k/t" });
  deepEqual(auth("token: t1, tokenFile: /t"), { kind: "token-file", path: "/t" });
  deepEqual(auth(""), { kind: "anonymous" });
  const exec = auth(
    "exec: {apiVersion: client.authentication.k8s.io/v1, command: bin/login, args: [a, 1], " +
      "env: [{name: A, value: b}], provideClusterInfo: true, interactiveMode: Never}",
  );
  deepEqual(exec, {
    kind: "exec",
    exec: {
      command: "/etc/k/bin/login",
      args: ["a", "1"],
      env: { A: "b" },
      apiVersion: "client.authentication.k8s.io/v1",
      provideClusterInfo: true,
    },
  });
});

Deno.test("readKubeconfig: prefers every other kind of authentication to an exec plugin", () => {
  const exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/login}";
  const kind = (more: string) => config(kubeconfig("", `${exec}, ${more}`)).auth.kind;
  deepEqual(
    ["token: t", "tokenFile: /t", "client-certificate: /c, client-key: /k", "a: b"].map(kind),
    ["token", "token-file", "anonymous", "exec"],
  );
});

Deno.test("readKubeconfig: reads proxy and TLS settings", () => {
  const { proxyUrl } = config(kubeconfig("proxy-url: 'http://u:p@proxy:3128'", ""));
  const { skipVerify, serverName, server } = config(
    kubeconfig("insecure-skip-tls-verify: true, tls-server-name: kube", ""),
  );
  deepEqual([skipVerify, serverName, server], [true, "kube", "https://10.0.0.1:6443"]);
  equal(proxyUrl?.reveal(), "http://u:p@proxy:3128");
});

Deno.test("readKubeconfig: reports each problem with its file and place, without values", () => {
  const exec = (more: string) => kubeconfig("", `exec: {command: x, ${more}}`);
  const cases: [string, RegExp][] = [
    ["{", /^\/f: line 1, column \d+: it is not YAML or JSON/],
    ["[]", /^\/f: it is not an object/],
    ["", /^\/f: current-context: it is not set/],
    ["current-context: x", /current-context: there is no context "x"/],
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
    [kubeconfig("", "auth-provider: {name: gcp}"), /auth-provider: it is not supported/],
    [kubeconfig("", "username: u"), /username: it is not supported/],
    [kubeconfig("", "as: other"), /user\.as: it is not supported/],
    [exec("apiVersion: v0"), /exec\.apiVersion: this version of the protocol/],
    [
      exec("apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always"),
      /exec\.interactiveMode: the plugin requires a terminal/,
    ],
    [
      kubeconfig("insecure-skip-tls-verify: true, certificate-authority: /ca", ""),
      /insecure-skip-tls-verify: it conflicts/,
    ],
    [kubeconfig("", "token: {hunter2: x}"), /user\.token: it is an object, not a string/],
  ];
  for (const [text, expected] of cases) {
    const found = problems(text);
    equal(found.length, 1, text);
    match(found[0] ?? "", expected);
    doesNotMatch(found.join(), /hunter2/);
  }
  match(problems("current-context: x\ncontexts: 3")[0] ?? "", /^\/f: contexts: it is not a list/);
});

Deno.test("readKubeconfig: never throws", () => {
  fc.assert(fc.property(fc.jsonValue(), fc.string(), (value, text) => {
    readKubeconfig(text, "/f");
    readKubeconfig(JSON.stringify(value), "/f");
    readKubeconfig(kubeconfig(`"a": ${JSON.stringify(value)}`, ""), "/f");
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
