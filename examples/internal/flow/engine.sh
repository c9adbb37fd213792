#!/bin/sh
# engine.sh DIR: a Docker Engine for tests, in namespaces of its own, until TERM. Its socket is DIR/sock, and
# it sees the same files as the host. Images, containers, networks, mounts and cgroups are gone with it.
# It needs root, docker.io, iproute2 and iptables.
set -eu
dir=$1
group=baton-engine-$$

groups() { find /sys/fs/cgroup -maxdepth 2 -name "$group"; }

sweep() {
	trap '' TERM INT HUP
	kill -9 "$engine" 2>/dev/null || :
	wait "$engine" 2>/dev/null || :
	for _ in 1 2 3 4 5 6 7 8 9 10; do # its processes may need a moment to be gone
		groups | while read -r top; do find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || :; done
		[ -n "$(groups)" ] || break
		sleep 0.1
	done
}

mkdir -p "$dir/data" "$dir/exec"
# shellcheck disable=SC2016 # the inner shell's
unshare --pid --fork --mount-proc --kill-child --net --mount -- sh -euc '
	ip link set lo up
	mount -t tmpfs tmpfs /run
	mount -t tmpfs tmpfs "$1/data"
	mount -t tmpfs tmpfs "$1/exec"
	export GOGC=400 # for each container it starts itself and others anew, which cost a third less so
	exec docker-init -- dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/exec/pid" \
		--host "unix://$1/sock" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$2" --log-level error
' sh "$dir" "$group" &
engine=$!
trap sweep EXIT
trap 'exit 0' TERM INT HUP
wait "$engine"
