/** How the simulated plugin behaves. */
export interface SimPluginSettings {
  readonly mode: "issue" | "fail" | "hang" | "stubborn" | "garbage" | "flood" | "none" | "spawn";
  /** How long its tokens live. */
  readonly lifeMs: number;
  /** The `cacheDuration` that it answers, such as `3s`; empty leaves it out. */
  readonly cacheDuration: string;
  readonly cacheKeyType: "Image" | "Registry" | "Global";
  /** `opaque` hides the end of a token's life; `ecr` tells it as ECR's passwords do. */
  readonly shape: "opaque" | "ecr";
  /** The pattern that its credentials are for. */
  readonly pattern: string;
}

/** The settings as the script reads them. */
export function pluginSettingsText(settings: SimPluginSettings): string {
  return [
    `MODE=${settings.mode}`,
    `LIFE_MS=${settings.lifeMs}`,
    `CACHE='${settings.cacheDuration}'`,
    `TYPE=${settings.cacheKeyType}`,
    `SHAPE=${settings.shape}`,
    `PATTERN='${settings.pattern}'`,
    "",
  ].join("\n");
}

/**
 * An exec plugin as the kubelet runs it, in plain shell and with whole paths, so that an empty PATH
 * is enough. It notes every execution in `executions`, and every token with its end in `issued`,
 * where the registry looks.
 */
export const PLUGIN_SCRIPT = `#!/bin/sh
here=\${0%/*}
. "$here/settings"
IFS= read -r request || :
echo run >> "$here/executions"
head='{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1"'
case $MODE in
fail) echo "the token service said no" >&2; exit 1 ;;
hang) /bin/sleep 3600; exit 0 ;;
spawn) /bin/sleep 3600 & /bin/sleep 3600; exit 0 ;;
stubborn) trap '' TERM; while :; do /bin/sleep 1; done ;;
garbage) echo "not JSON at all"; exit 0 ;;
flood) while :; do echo "0123456789012345678901234567890123456789012345678901234567890123456789"; done ;;
none) echo "$head,\\"cacheKeyType\\":\\"$TYPE\\",\\"auth\\":null}"; exit 0 ;;
esac
now=$(/bin/date +%s%3N)
end=$((now + LIFE_MS))
token=tok-$(/bin/date +%s%N)-$$
if [ "$SHAPE" = ecr ]; then
  token=$(printf '{"payload":"%s","version":"2","type":"DATA_KEY","expiration":%s}' "$token" $((end / 1000)) | /usr/bin/base64 -w0)
fi
umask 077
echo "$end $token" >> "$here/issued"
cache=
[ -n "$CACHE" ] && cache=",\\"cacheDuration\\":\\"$CACHE\\""
echo "$head,\\"cacheKeyType\\":\\"$TYPE\\"$cache,\\"auth\\":{\\"$PATTERN\\":{\\"username\\":\\"token\\",\\"password\\":\\"$token\\"}}}"
`;
