#!/bin/sh
# dpkg: configure [OLD-VERSION]. rpm: 1 (installation) or 2 (upgrade).
set -e
unit=nydus-auth-agent.service
config=/etc/nydus-auth-agent/config.toml
case "$1:$2" in
configure: | 1:*) upgrade=no ;;
configure:* | 2:*) upgrade=yes ;;
*) exit 0 ;;
esac

# The sample is no configuration file of the package: an upgrade leaves it alone.
if [ ! -e "$config" ]; then
  mkdir -p -m 0755 /etc/nydus-auth-agent
  install -m 0600 /usr/share/nydus-auth-agent/config.toml "$config"
fi
if [ -e "/etc/systemd/system/$unit" ]; then
  echo "warning: /etc/systemd/system/$unit hides the unit of the package (remove it)" >&2
fi
command -v systemctl >/dev/null || exit 0
# Enables the service only where a preset of the site does. Never starts it.
[ "$upgrade" = yes ] || systemctl preset --quiet "$unit" || true
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || true
systemd-tmpfiles --create nydus-auth-agent.conf || true
[ "$upgrade" = no ] || systemctl try-restart "$unit" || true
