#!/bin/sh
# A systemd in namespaces of its own, with our unit as it is installed and a stand-in for the kubelet.
#
#   systemd_stage.sh <folder> <binary> <assets>
#
# The folder gets `init`: the process to enter by nsenter. Ends when that process does.
set -eu
# systemd would write one of its own, onto the real disk.
[ -s /etc/machine-id ] || exit 1
if [ "${4:-}" != inner ]; then
  mkdir "$1/groups"
  unshare --mount sh -euc '
    mount -t cgroup -o none,name=systemd cgroup "$2/groups"
    mkdir "$2/groups/agent-test-$$"
    echo $$ >"$2/groups/agent-test-$$/cgroup.procs"
    unshare --mount --pid --uts --ipc --cgroup --fork --kill-child sh "$1" "$2" "$3" "$4" inner &
    until pgrep -P $! >"$2/init.new"; do
      kill -0 $! 2>/dev/null || break
      sleep 0.05
    done
    mv "$2/init.new" "$2/init"
    wait $! || true
    echo $$ >"$2/groups/cgroup.procs"
    find "$2/groups/agent-test-$$" -depth -type d -exec rmdir {} +
  ' sh "$0" "$@"
  exit
fi
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
for folder in /run /etc/systemd /usr/local/bin; do
  [ -d "$folder" ] || exit 1
  mount -t tmpfs -o mode=755 tmpfs "$folder"
done
mkdir -p /run/containerd /run/systemd /run/agent /etc/systemd/system
cp "$2" /usr/local/bin/nydus-auth-agent
chmod 755 /usr/local/bin/nydus-auth-agent
cp "$1/agent.toml" /run/agent/config.toml
cd /etc/systemd/system
cp "$3"/nydus-auth-agent.service .
mkdir nydus-auth-agent.service.d
cp "$1/drop-in.conf" nydus-auth-agent.service.d/
for target in sysinit basic shutdown multi-user network local-fs; do
  printf '[Unit]\nDefaultDependencies=no\n' >"$target.target"
done
printf '[Unit]\nDefaultDependencies=no\nWants=kubelet.service nydus-auth-agent.service\n' >test.target
cat >kubelet.service <<'END'
[Service]
ExecStart=/bin/sh -c 'readlink /run/nydus-auth-agent-cri/image.sock >/run/agent/seen; exec sleep infinity'
END
systemd-tmpfiles --create "$3/nydus-auth-agent.tmpfiles.conf"
readlink /run/nydus-auth-agent-cri/image.sock >/run/agent/laid
export container=lxc SYSTEMD_UNIT_PATH=/etc/systemd/system
exec /lib/systemd/systemd --system --unit=test.target --log-target=null --show-status=no </dev/null
