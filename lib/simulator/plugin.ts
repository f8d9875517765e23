/** How the simulated plugin behaves. */
export interface SimPluginSettings {
  /**
   * `issue` a token; `fail` with exit code 1; `hang` for an hour, `spawn` the same with a child
   * that holds the pipe; `stubborn` ignores TERM; `garbage` and `flood` print no answer; `none`
   * has nothing for this image (`auth` is null).
   */
  readonly mode: "issue" | "fail" | "hang" | "stubborn" | "garbage" | "flood" | "none" | "spawn";
  /** How long its tokens live. */
  readonly lifetimeMs: number;
  /** The `cacheDuration` that it answers, such as `3s`; empty leaves it out. */
  readonly cacheDuration: string;
  readonly cacheKeyType: "Image" | "Registry" | "Global";
  /** `opaque` hides a token's expiry; `ecr` and `jwt` carry it, as ECR's passwords and JWTs do. */
  readonly shape: "opaque" | "ecr" | "jwt";
  /** The life that it tells where it tells one; its tokens' own when left out. */
  readonly reportedLifetimeMs?: number;
  /** A part of every token, by which one is found wherever it should not be. */
  readonly mark?: string;
  /** The pattern that its credentials are for. */
  readonly pattern: string;
}

/** The settings as the script reads them. */
export function pluginSettingsText(settings: SimPluginSettings): string {
  return [
    `MODE=${settings.mode}`,
    `LIFE_MS=${settings.lifetimeMs}`,
    `SAID_MS=${settings.reportedLifetimeMs ?? settings.lifetimeMs}`,
    `MARK=${settings.mark ?? ""}`,
    `CACHE='${settings.cacheDuration}'`,
    `TYPE=${settings.cacheKeyType}`,
    `SHAPE=${settings.shape}`,
    `PATTERN='${settings.pattern}'`,
    "",
  ].join("\n");
}

/**
 * An exec plugin as the kubelet runs it, in plain shell and with whole paths, so that an empty PATH
 * is enough. It notes the image of every execution in `executions` (`-` when it was not told one),
 * and every token with its end in `issued`, where the registry looks.
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
fail) echo "the token service said no" >&2; exit 1 ;;
hang) /bin/sleep 3600; exit 0 ;;
spawn) /bin/sleep 3600 & /bin/sleep 3600; exit 0 ;;
stubborn) trap '' TERM; while :; do /bin/sleep 1; done ;;
garbage) echo "not JSON at all"; exit 0 ;;
flood) ten=0123456789; while :; do echo "$ten$ten$ten$ten$ten$ten"; done ;;
none) echo "$head,\\"auth\\":null}"; exit 0 ;;
esac
now=$(/bin/date +%s%3N)
end=$((now + LIFE_MS))
token=tok-$MARK$(/bin/date +%s%N)-$$
if [ "$SHAPE" = ecr ]; then
  end=$((end / 1000 * 1000))
  said=$(((now + SAID_MS) / 1000))
  token='{"payload":"'$token'","version":"2","type":"DATA_KEY","expiration":'$said'}'
  token=$(printf %s "$token" | /usr/bin/base64 -w0)
elif [ "$SHAPE" = jwt ]; then
  end=$((end / 1000 * 1000))
  token='{"jti":"'$token'","exp":'$(((now + SAID_MS) / 1000))'}'
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
