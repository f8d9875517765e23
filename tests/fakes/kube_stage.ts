import { KubeClient } from "../../lib/providers/kubernetes/client.ts";
import { ConnectionResolver } from "../../lib/providers/kubernetes/connection.ts";
import type { InformerContext } from "../../lib/providers/kubernetes/informer.ts";
import { Kube } from "../../lib/providers/mod.ts";
import { FakeClock } from "./clock.ts";
import { FakeFiles } from "./files.ts";
import { FakeKubeHttp } from "./kube_http.ts";
import { FakeProcessRunner } from "./process.ts";
import { FakeRandom } from "./random.ts";

const KUBECONFIG = `
current-context: c
contexts: [{name: c, context: {cluster: c}}]
clusters: [{name: c, cluster: {server: "https://api"}}]
`;

/** Dependencies of a client whose kubeconfig names the fake API server. */
function connectionOptions() {
  const files = new FakeFiles();
  files.set("/kubeconfig", KUBECONFIG);
  return {
    kubeconfigPath: "/kubeconfig",
    files,
    processRunner: new FakeProcessRunner(() => ""),
    clock: new FakeClock(),
    random: new FakeRandom(),
    env: {},
  };
}

/** Dependencies of informers with a fake API server. */
export function informerContext(
  http: FakeKubeHttp,
): InformerContext & { readonly clock: FakeClock } {
  const options = connectionOptions();
  const { clock, random } = options;
  const client = new KubeClient(http, new ConnectionResolver(options));
  return { client, clock, random };
}

/** The Kubernetes providers of the node `one` with a fake API server. */
export function kubeStage(answer: FakeKubeHttp["answer"], changed: () => void = () => {}) {
  const http = new FakeKubeHttp(answer);
  const options = connectionOptions();
  const { clock } = options;
  const kube = new Kube({ ...options, http, nodeName: "one", changed });
  return { kube, http, clock, [Symbol.dispose]: () => kube[Symbol.dispose]() };
}
