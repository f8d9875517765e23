#!/bin/sh
# dpkg: remove, or upgrade NEW-VERSION. rpm: 0 (removal) or 1 (upgrade).
set -e
unit=nydus-auth-agent.service
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ "$1" = 0 ] && cmp -s /usr/share/nydus-auth-agent/config.toml /etc/nydus-auth-agent/config.toml; then
  rm /etc/nydus-auth-agent/config.toml # unchanged; rpm has no purge
fi
command -v systemctl >/dev/null || exit 0
if [ -d /run/systemd/system ]; then
  systemctl stop "$unit" || true
  # Switches the kubelet's symlink to the container runtime now instead of after the delay.
  systemctl start nydus-auth-agent-cri-fallback.service 2>/dev/null || true
fi
systemctl disable --quiet "$unit" || true
