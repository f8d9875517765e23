/** The only version of the plugin protocol that upstream and we speak. */
export const PLUGIN_API_VERSION = "credentialprovider.kubelet.k8s.io/v1";
