#!/bin/sh
# dpkg: remove, purge or upgrade NEW-VERSION. rpm: 0 (removal) or 1 (upgrade).
set -e
case "$1" in
remove | purge | 0) ;;
*) exit 0 ;;
esac
[ ! -d /run/systemd/system ] || systemctl daemon-reload || true
# The symlink in /run/nydus-auth-agent-cri stays until the next boot: a kubelet may use it.
rm -rf /run/nydus-auth-agent
if [ "$1" = purge ]; then rm -f /etc/nydus-auth-agent/config.toml; fi
[ ! -d /etc/nydus-auth-agent ] || rmdir --ignore-fail-on-non-empty /etc/nydus-auth-agent
