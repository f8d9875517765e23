/** Paths of a node in the snapshotter's configuration. */
export interface NodeLocations {
  readonly root: string;
  readonly systemSocket: string;
  readonly daemonTemplatePath: string;
  readonly mirrorsDir: string;
  readonly providerConfigPath: string;
  readonly pluginDir: string;
}

/** Returns the snapshotter's configuration file. */
export function snapshotterConfigText(places: NodeLocations): string {
  return [
    "version = 1",
    `root = "${places.root}"`,
    'daemon_mode = "dedicated"',
    "[system]",
    "enable = true",
    `address = "${places.systemSocket}"`,
    "[daemon]",
    `nydusd_config = "${places.daemonTemplatePath}"`,
    "[remote.mirrors_config]",
    `dir = "${places.mirrorsDir}"`,
    "[remote.auth]",
    "enable_kubelet_credential_providers = true",
    `credential_provider_config = "${places.providerConfigPath}"`,
    `credential_provider_bin_dir = "${places.pluginDir}"`,
    "",
  ].join("\n");
}

/** Returns the kubelet's configuration of the simulated plugin. */
export function providerConfigText(plugin: string, pattern: string): string {
  return [
    "apiVersion: kubelet.config.k8s.io/v1",
    "kind: CredentialProviderConfig",
    "providers:",
    `- name: ${plugin}`,
    "  apiVersion: credentialprovider.kubelet.k8s.io/v1",
    `  matchImages: ["${pattern}"]`,
    '  defaultCacheDuration: "12h"',
    "",
  ].join("\n");
}

/** The behavior of the simulated plugin. */
export interface SimPluginSettings {
  /**
   * `issue`: prints a token; `fail`: exits with code 1; `hang`: runs for an hour; `spawn`: the same
   * with a child that keeps the pipe open; `stubborn`: ignores TERM; `garbage`, `flood`: prints
   * invalid or endless output; `none`: has no credential for the image (`auth` is null).
   */
  readonly mode: "issue" | "fail" | "hang" | "stubborn" | "garbage" | "flood" | "none" | "spawn";
  /** Lifetime of its tokens. */
  readonly lifetimeMs: number;
  /** The `cacheDuration` of its response, such as `3s`; empty omits it. */
  readonly cacheDuration: string;
  readonly cacheKeyType: "Image" | "Registry" | "Global";
  /** Format of a token: without expiry, or with one like passwords of ECR or JWTs. */
  readonly shape: "opaque" | "ecr" | "jwt";
  /** Lifetime according to the token. Default: the actual lifetime. */
  readonly reportedLifetimeMs?: number;
  /** A marker in every token, to detect leaks. */
  readonly mark?: string;
  /** The image pattern of its credentials. */
  readonly pattern: string;
}

/** Returns the settings in the format of the script. */
export function pluginSettingsText(settings: SimPluginSettings): string {
  return [
    `MODE=${settings.mode}`,
    `LIFETIME_MS=${settings.lifetimeMs}`,
    `REPORTED_MS=${settings.reportedLifetimeMs ?? settings.lifetimeMs}`,
    `MARK=${settings.mark ?? ""}`,
    `CACHE='${settings.cacheDuration}'`,
    `TYPE=${settings.cacheKeyType}`,
    `SHAPE=${settings.shape}`,
    `PATTERN='${settings.pattern}'`,
    "",
  ].join("\n");
}

/**
 * An exec plugin of the kubelet as a shell script with absolute paths, which runs with an empty PATH.
 * It appends the image of every execution to `executions` (`-` without one), and every token with its
 * expiry to `issued`, which the registry reads.
 */
export const PLUGIN_SCRIPT = `#!/bin/sh
here=\${0%/*}
. "$here/settings"
IFS= read -r request || :
case $request in
*'"image":"'*) image=\${request#*'"image":"'} image=\${image%%'"'*} ;;
*) image=- ;;
esac
echo "$image" >> "$here/executions"
head='{"kind":"CredentialProviderResponse"'
head=$head',"apiVersion":"credentialprovider.kubelet.k8s.io/v1"'
head=$head',"cacheKeyType":"'$TYPE'"'
case $MODE in
fail) echo "the token service refused" >&2; exit 1 ;;
hang) /bin/sleep 3600; exit 0 ;;
spawn) /bin/sleep 3600 & /bin/sleep 3600; exit 0 ;;
stubborn) trap '' TERM; while :; do /bin/sleep 1; done ;;
garbage) echo "not JSON at all"; exit 0 ;;
flood) ten=0123456789; while :; do echo "$ten$ten$ten$ten$ten$ten"; done ;;
none) echo "$head,\\"auth\\":null}"; exit 0 ;;
esac
now=$(/bin/date +%s%3N)
end=$((now + LIFETIME_MS))
token=tok-$MARK$(/bin/date +%s%N)-$$
if [ "$SHAPE" = ecr ]; then
  end=$((end / 1000 * 1000))
  reported=$(((now + REPORTED_MS) / 1000))
  token='{"payload":"'$token'","version":"2","type":"DATA_KEY","expiration":'$reported'}'
  token=$(printf %s "$token" | /usr/bin/base64 -w0)
elif [ "$SHAPE" = jwt ]; then
  end=$((end / 1000 * 1000))
  token='{"jti":"'$token'","exp":'$(((now + REPORTED_MS) / 1000))'}'
  token=$(printf %s "$token" | /usr/bin/base64 -w0 | /usr/bin/tr '+/' '-_')
  token=eyJhbGciOiJub25lIn0.\${token%%=*}.c2lnbmF0dXJl
fi
umask 077
for=-
[ "$TYPE" = Image ] && for=$image
echo "$end $token $for" >> "$here/issued"
cache=
[ -n "$CACHE" ] && cache=',"cacheDuration":"'$CACHE'"'
user='"username":"token","password":"'$token'"'
echo "$head$cache,\\"auth\\":{\\"$PATTERN\\":{$user}}}"
`;
