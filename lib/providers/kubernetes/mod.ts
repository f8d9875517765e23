/**
 * The Kubernetes API: kubeconfig, client, list-watch, pods, secrets and service accounts.
 *
 * @module
 */
export { type Kube, type KubeOptions, openKube } from "./kube.ts";
