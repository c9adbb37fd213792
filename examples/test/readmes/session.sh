#!/bin/sh
# session.sh DIR: a shell on a machine of its own, as far as a README can tell: processes, network, and what lies in
# /run, /tmp, /etc, /var, /opt, /srv, /home and /root are gone with it; Go keeps its caches. It runs the lines of its
# input. DIR is the same inside and outside. Needs root and a kernel with overlayfs.
set -eu
dir=$1
export dir
# shellcheck disable=SC2016 # the inner shell's
exec unshare --mount --pid --fork --mount-proc --kill-child --net --propagation private -- sh -euc '
	ip link set lo up
	mount -t tmpfs -o mode=755 tmpfs /mnt
	mkdir /mnt/dir
	mount --bind "$dir" /mnt/dir
	for cache in GOCACHE GOMODCACHE; do
		eval "kept=\$$cache"
		mkdir -p "$kept" "/mnt/$cache"
		mount --bind "$kept" "/mnt/$cache"
	done
	for top in etc var opt srv home root; do
		mkdir -p "/mnt/$top/up" "/mnt/$top/work"
		mount -t overlay overlay -o "lowerdir=/$top,upperdir=/mnt/$top/up,workdir=/mnt/$top/work" "/$top"
	done
	mount -t tmpfs -o mode=755 tmpfs /run
	mount -t tmpfs -o mode=1777 tmpfs /tmp
	mkdir -p "$dir" /root/.ssh
	mount --bind /mnt/dir "$dir"
	mount -t tmpfs -o mode=700 tmpfs /root/.ssh
	for cache in GOCACHE GOMODCACHE; do
		eval "kept=\$$cache"
		mkdir -p "$kept"
		mount --bind "/mnt/$cache" "$kept"
	done
	export HOME=/root
	cd "$dir/clone"
	exec bash -eu -o pipefail
'
