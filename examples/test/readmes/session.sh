#!/bin/sh
# session.sh DIR: a shell on a machine of its own, as far as a README can tell: processes, network, and what lies in
# /run, /tmp, /etc, /var, /opt, /srv, /home and /root are gone with it; caches are kept. It runs the lines of its
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
	n=0
	for kept in "$GOCACHE" "$GOMODCACHE" /root/.cache; do
		n=$((n + 1))
		mkdir -p "$kept" "/mnt/kept.$n"
		mount --bind "$kept" "/mnt/kept.$n"
	done
	for top in etc var opt srv home; do
		mkdir -p "/mnt/$top/up" "/mnt/$top/work"
		mount -t overlay overlay -o "lowerdir=/$top,upperdir=/mnt/$top/up,workdir=/mnt/$top/work" "/$top"
	done
	mount -t tmpfs -o mode=755 tmpfs /run
	mount -t tmpfs -o mode=1777 tmpfs /tmp
	mkdir -p "$dir"
	mount --bind /mnt/dir "$dir"
	mount -t tmpfs -o mode=700 tmpfs /root
	while [ "$n" -gt 0 ]; do # the folder of caches first
		case $n in 1) kept=$GOCACHE ;; 2) kept=$GOMODCACHE ;; 3) kept=/root/.cache ;; esac
		mkdir -p "$kept"
		mount --bind "/mnt/kept.$n" "$kept"
		n=$((n - 1))
	done
	export HOME=/root
	cd "$dir/clone"
	exec bash -eu -o pipefail
'
