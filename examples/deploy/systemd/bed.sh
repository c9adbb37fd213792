#!/bin/bash
# bed.sh: boot the distribution's own systemd in a bed of private namespaces, to try units in. No image, no download, no
# bus: the machine's root is the lower layer of an overlay, and whatever the bed writes is gone with it. Up in under
# half a second.
#
#   bed.sh up                 boot; returns when the bed is running
#   bed.sh put FILE PATH      copy FILE to PATH in the bed, by rename, executable if FILE is
#   bed.sh run COMMAND...     run COMMAND in the bed, such as systemctl or kill
#   bed.sh logs [UNIT]        the bed's journal
#   bed.sh pid                the pid of its systemd, as seen from outside: /proc/PID/ns/net is its network
#   bed.sh down               shut down and remove all that is left
#   bed.sh fetch DIR          unpack the systemd of Debian's backports into DIR, for BED_ADD
#
# BED         state directory, one a bed (/tmp/baton-bed); several may be up at once
# BED_LOWER   a tree that is the root in place of the machine's own, such as that of debootstrap
# BED_ADD     a tree laid over the root: another version of systemd
# BED_OWNER   a pid: when that process is gone, the bed goes down by itself
#
# One up or down of a BED runs at a time: up is refused, down waits. The network is the bed's own, with a loopback and
# nothing else. Needs root, a kernel with cgroup2 and overlayfs, and Debian's systemd, util-linux, iproute2.
#
# Exit codes: 0 done, 1 it failed, or the bed is up already; 2 wrong usage, 7 another bed.sh is at work on this BED, and
# nothing was touched; 77 this machine can't do it, and a line says why.
set -eu
BED=${BED:-/tmp/baton-bed}
self=$(readlink -f "$0")

path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin # in the bed

die() { echo "bed.sh: $*" >&2; exit 1; }
cannot() { echo "bed.sh: no bed here: $*" >&2; exit 77; }

# alone keeps other bed.sh away from this BED until this process ends. The folder that it has waited for may be gone.
alone() { # options of flock
	until [ /dev/fd/9 -ef "$BED" ]; do
		mkdir -p "$BED"
		exec 9<"$BED"
		flock "$@" 9 || {
			echo "bed.sh: another bed.sh is at work (BED=$BED): wait for its end, or set BED for a bed of your own" >&2
			exit 7
		}
	done
}

# Units of the machine are none of the bed's business: it has these, and those in /etc/systemd/system of its own.
units="basic.target sysinit.target sockets.target timers.target paths.target slices.target local-fs.target swap.target
	multi-user.target network.target network-online.target shutdown.target umount.target final.target exit.target
	systemd-exit.service poweroff.target systemd-poweroff.service systemd-journald.service systemd-journald.socket
	systemd-journald-dev-log.socket"

outer() { # PID 1 of the new pid namespace, in the machine's cgroup namespace still
	echo 0 >"$(cat "$BED/cgroup")/cgroup.procs"
	exec unshare --mount --uts --ipc --cgroup --net --propagation private "$self" __inner
}

inner() { # builds the root, moves into it and becomes systemd
	local root=$BED/t/root n etc
	ip link set lo up
	mount -t tmpfs -o mode=755 bed "$BED/t"
	mkdir -p "$BED/t/up" "$BED/t/work" "$root"
	[ -z "${BED_ADD:-}" ] || cp -a "$BED_ADD/." "$BED/t/up/"
	mount -t overlay overlay -o "lowerdir=${BED_LOWER:-/},upperdir=$BED/t/up,workdir=$BED/t/work" "$root"
	mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
	mount --bind "$root/proc/sys" "$root/proc/sys"
	mount -o remount,bind,ro "$root/proc/sys"
	mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
	mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
	for n in null zero full random urandom tty; do
		touch "$root/dev/$n"
		mount --bind "/dev/$n" "$root/dev/$n"
	done
	mkdir "$root/dev/pts" "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "$root/dev/${n#*:}"; done
	touch "$root/dev/kmsg"
	mount --bind "$BED/boot.log" "$root/dev/kmsg" # what it says before there is a journal
	for n in dev/shm:1777 tmp:1777 run:755; do mount -t tmpfs -o "mode=${n#*:},nosuid,nodev" bed "$root/${n%:*}"; done

	etc=$root/etc/systemd
	echo bed >"$root/etc/hostname"
	tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
	rm -rf "$root/etc/fstab" "$root/var/log/journal" "$etc/system" "$etc"/*.conf.d
	mkdir -p "$etc/system/sockets.target.wants" "$etc/system/sysinit.target.wants" "$etc/journald.conf.d" "$root/oldroot"
	# shellcheck disable=SC2086 # several; another version may not have all
	(cd "$root/lib/systemd/system" && cp $units "$etc/system/") 2>/dev/null || true
	ln -s ../systemd-journald.socket ../systemd-journald-dev-log.socket "$etc/system/sockets.target.wants/"
	ln -s ../systemd-journald.service "$etc/system/sysinit.target.wants/"
	ln -s multi-user.target "$etc/system/default.target"
	printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToWall=no\nRateLimitBurst=0\n' \
		>"$etc/journald.conf.d/bed.conf"

	cd "$root"
	pivot_root . oldroot
	PATH=$path # what the caller's names is not there
	umount -l /oldroot
	rmdir /oldroot
	exec setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-syslog env -i container=bed \
		"PATH=$path" \
		SYSTEMD_UNIT_PATH=/run/systemd/transient:/etc/systemd/system.control:/run/systemd/system.control:/etc/systemd/system:/run/systemd/system \
		/lib/systemd/systemd --system --show-status=no --log-target=journal-or-kmsg --log-level=info \
		</dev/null >/dev/null 2>&1
}

# there sets p to the pid of its systemd. After a reboot another process may have it, and this machine is not to be
# powered off. It starts no process: mourn looks again and again.
there() {
	local cgroup='' of=''
	p=''
	{
		read -r p <"$BED/pid" && read -r cgroup <"$BED/cgroup" && [ -n "$p" ] || return
		read -r -d '' of <"/proc/$p/cgroup" || true # to the end
	} 2>/dev/null
	case $of in *"/${cgroup##*/}"*) ;; *) return 1 ;; esac
}
pid() { there && echo "$p"; }

# booted: before that its root and its sockets are this machine's, which is not to run what is for the bed.
booted() { # pid
	local comm=''
	read -r comm 2>/dev/null <"/proc/$1/comm" || true
	[ "$comm" = systemd ]
}

enter() {
	local p
	{ there && booted "$p"; } || die "not up (BED=$BED)"
	nsenter -t "$p" -m -p -u -i -C -n -- /usr/bin/env "PATH=$path" SYSTEMD_PAGER= SYSTEMD_COLORS=0 "$@"
}

up() {
	local p mnt cgroup outer state tool
	[ "$(uname -s)" = Linux ] || cannot "this is no Linux"
	[ "$(id -u)" = 0 ] || cannot "needs root"
	[ -x /lib/systemd/systemd ] || cannot "no systemd: apt-get install systemd"
	for tool in unshare nsenter setpriv flock ip journalctl; do
		command -v "$tool" >/dev/null || cannot "no $tool: apt-get install util-linux iproute2 systemd"
	done
	for tool in cgroup2 overlay; do
		grep -qw "$tool" /proc/filesystems || modprobe "$tool" 2>/dev/null || cannot "the kernel has no $tool"
	done
	alone -n
	! there || die "already up (BED=$BED)"
	trap 'kill -9 "${outer:-}" 2>/dev/null || true; down; die "interrupted: nothing is left"' HUP INT TERM
	mkdir -p "$BED/t"
	: >"$BED/boot.log"
	rm -f "$BED/pid"
	mnt=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	if [ -z "$mnt" ]; then
		mnt=$BED/cg
		mkdir -p "$mnt"
		mount -t cgroup2 none "$mnt" || { rm -rf "$BED"; cannot "cgroup2 can't be mounted"; }
	fi
	cgroup=$(mktemp -d "$mnt/baton-bed.XXXXXX") || { rm -rf "$BED"; cannot "no cgroup can be made in $mnt"; }
	chmod 755 "$cgroup"
	echo "$cgroup" >"$BED/cgroup"
	BED=$BED setsid unshare --pid --fork --kill-child "$self" __outer </dev/null >>"$BED/boot.log" 2>&1 9<&- &
	outer=$!
	for _ in $(seq 500); do
		if p=$(tr -d ' ' <"/proc/$outer/task/$outer/children" 2>/dev/null) && [ -n "$p" ]; then
			echo "$p" >"$BED/pid"
			if booted "$p" && [ -S "/proc/$p/root/run/systemd/private" ]; then
				state=$(enter systemctl is-system-running --wait 2>/dev/null) || true
				case $state in running | degraded)
					[ -z "${BED_OWNER:-}" ] || mourn "$p" </dev/null >/dev/null 2>&1 &
					return ;;
				esac
			fi
		elif ! kill -0 "$outer" 2>/dev/null; then
			break
		fi
		sleep 0.02
	done
	cat "$BED/boot.log" >&2
	down
	cannot "systemd did not come up (state: ${state:-none})"
}

# mourn takes the bed of a dead owner down, and ends with the bed. The next one in that folder is another owner's.
mourn() { # pid of its systemd
	exec 9<&-
	local p
	while there && [ "$p" = "$1" ]; do
		[ -d "/proc/$BED_OWNER" ] || {
			alone -w 60
			! there || [ "$p" != "$1" ] || down
			return
		}
		sleep 1
	done
}

down() {
	local p cgroup
	alone -w 60
	if there; then
		if booted "$p"; then enter systemctl poweroff 2>/dev/null || true; else kill -9 "$p" 2>/dev/null || true; fi
		for _ in $(seq 500); do
			if ! there || grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null; then break; fi
			sleep 0.02
		done
		! there || kill -9 "$p" 2>/dev/null || true
	fi
	if cgroup=$(cat "$BED/cgroup" 2>/dev/null) && [ -d "$cgroup" ]; then
		for _ in $(seq 100); do # the last of its processes may be a moment behind PID 1
			find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break
			sleep 0.02
		done
	fi
	! mountpoint -q "$BED/cg" || umount "$BED/cg"
	rm -rf "$BED"
}

# fetch asks the mirror that apt is set up with, and leaves apt's own lists and the machine's packages alone.
fetch() {
	local dir=$1 tmp site deb n signed='' key=/usr/share/keyrings/debian-archive-keyring.gpg
	command -v apt-get >/dev/null || cannot "no apt-get to fetch another systemd with"
	# shellcheck disable=SC1091
	. /etc/os-release
	[ "${ID:-}" = debian ] || cannot "no backports of Debian for ${ID:-this system}"
	# shellcheck disable=SC2016
	site=$(apt-get indextargets --format '$(SITE)' 'Identifier: Packages' "Codename: $VERSION_CODENAME" | head -1)
	[ -n "$site" ] || cannot "apt has no mirror of $VERSION_CODENAME"
	[ ! -e "$key" ] || signed="[signed-by=$key]"
	tmp=$(mktemp -d)
	mkdir -p "$tmp/lists/partial" "$tmp/archives/partial" "$dir"
	echo "deb $signed $site $VERSION_CODENAME-backports main" >"$tmp/list"
	set -- -qq -o "Dir::Etc::SourceList=$tmp/list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$tmp/lists" \
		-o "Dir::Cache=$tmp" -o "Dir::Cache::archives=$tmp/archives" -o APT::Sandbox::User=root -o Acquire::Retries=2
	(cd "$tmp" && apt-get "$@" update && apt-get "$@" download systemd libsystemd-shared libsystemd0 &&
		for deb in *.deb; do dpkg -x "$deb" "$dir"; done) || {
		rm -rf "$tmp"
		cannot "$VERSION_CODENAME-backports can't be fetched"
	}
	for n in bin lib sbin; do # they are links into /usr where it is laid over
		[ ! -d "$dir/$n" ] || { mkdir -p "$dir/usr/$n"; cp -a "$dir/$n/." "$dir/usr/$n/"; rm -rf "${dir:?}/$n"; }
	done
	rm -rf "$tmp"
}

put() {
	local mode=644
	[ ! -x "$1" ] || mode=755
	# shellcheck disable=SC2016
	enter sh -c 'mkdir -p "$(dirname "$1")" && cat >"$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"' \
		put "$2" "$mode" <"$1"
}

case ${1:-} in
__outer) outer ;;
__inner) inner ;;
up | down | pid) "$1" ;;
put) put "$2" "$3" ;;
run) shift; enter "$@" ;;
logs) enter journalctl --no-pager -o short-precise ${2:+-u "$2"} ;;
fetch) fetch "$2" ;;
*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$self"; exit 2 ;;
esac
