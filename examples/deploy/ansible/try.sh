#!/bin/sh
# try.sh: hosts to try the role on, on one machine: a, b and c, and before them lb1 and lb2 with an HAProxy each. Each
# host has its own network, a systemd that runs (../systemd/bed.sh) and an sshd. Nothing of the machine is touched.
#
#   try.sh up             makes them; the inventory "hosts" beside this script names them. It leaves those alone that
#                         are there, and may be in use; what it can't finish is removed
#   try.sh run COMMAND    runs COMMAND in the operator's network, with the key that the hosts know
#   try.sh at HOST COMMAND    runs it there, not by ssh
#   try.sh lose HOST      cuts the operator's connection to it
#   try.sh down           removes all
#
#   10.78.0.1 to .3    a, b, c; the service is at port 8080
#   10.78.0.8, .9      lb1, lb2: the site is at port 80
#   10.78.0.10         the operator
#
# Exit codes: 0 done, 2 wrong usage, 7 up: they are there already, and nothing was touched; any other: it failed.
#
# Needs root, systemd, mount, iproute2, openssh-server, openssh-client, haproxy, python3.
set -eu

: "${TRY:=/tmp/baton-ansible}" # its folder
: "${NET:=baton}"              # the namespaces are NET-lan and NET-client
: "${INTER:=500ms}"            # between two checks of HAProxy

here=$(cd "$(dirname "$0")" && pwd)
hosts="a:1 b:2 c:3 lb1:8 lb2:9" # the last part of the address

bed() { # HOST, what bed.sh is to do
	host=$1
	shift
	BED=$TRY/$host "$here/../systemd/bed.sh" "$@"
}

# With SHLVL bash does not take a command for one of ssh, and does not run the .bashrc of this machine.
sshd_config='HostKey /etc/try/host
AuthorizedKeysFile /etc/try/user.pub
UsePAM no
PermitRootLogin prohibit-password
StrictModes no
PrintMotd no
PidFile none
SetEnv SHLVL=1
Subsystem sftp internal-sftp'

haproxy_service='[Service]
RuntimeDirectory=haproxy
ExecStart=/usr/sbin/haproxy -db -f /etc/try/haproxy.cfg'

sshd_service='[Service]
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755
ExecStart=/usr/sbin/sshd -D -e -f /etc/try/sshd_config'

# in_use ends this script where another up has made what this one would make, or makes it.
in_use() {
	there=''
	[ -z "$(ls -A "$TRY" 2>/dev/null)" ] || there=", the folder $TRY"
	for host in $hosts; do ! bed "${host%:*}" pid >/dev/null || there="$there, the host $host"; done
	for net in lan client; do [ ! -e "/run/netns/$NET-$net" ] || there="$there, the namespace $NET-$net"; done
	[ -z "$there" ] || {
		echo "try.sh: somebody may use what is there: ${there#, }." \
			"Remove it by \"try.sh down\", or set TRY and NET for hosts of your own" >&2
		exit 7
	}
}

up() {
	in_use
	# Of two that begin at once only one gets past these lines.
	ip netns add "$NET-lan" || { in_use && exit 1; }
	{ mkdir -p "$TRY" && mkdir "$TRY/a"; } || { ip netns del "$NET-lan" && in_use && exit 1; }
	trap 'down' EXIT
	trap 'exit 1' HUP INT TERM
	for key in host user; do ssh-keygen -q -t ed25519 -N '' -C "$key" -f "$TRY/$key"; done
	printf '%s\n' "$sshd_config" >"$TRY/sshd_config"
	printf '%s\n' "$sshd_service" >"$TRY/sshd.service"
	printf '%s\n' "$haproxy_service" "Environment=INTER=$INTER" >"$TRY/haproxy.service"
	cat >"$TRY/ssh_config" <<-END
		IdentityFile $TRY/user
		IdentitiesOnly yes
		BatchMode yes
		UserKnownHostsFile $TRY/known_hosts
		ControlMaster auto
		ControlPersist 60s
		ControlPath $TRY/%h.mux
	END
	ip -n "$NET-lan" link add name br0 up type bridge
	for host in $hosts; do
		ip=10.78.0.${host#*:} host=${host%:*}
		bed "$host" up
		join "$host" "$(bed "$host" pid)"
		bed "$host" run sh -c "ip address add $ip/24 dev eth0 && ip link set eth0 up"
		for file in host user.pub sshd_config; do bed "$host" put "$TRY/$file" "/etc/try/$file"; done
		bed "$host" put "$TRY/sshd.service" /etc/systemd/system/sshd.service
		bed "$host" run sh -c 'chmod 600 /etc/try/host && systemctl daemon-reload && systemctl start sshd'
		echo "$ip $(cat "$TRY/host.pub")" >>"$TRY/known_hosts"
	done
	for host in lb1 lb2; do
		bed "$host" put "$here/haproxy.cfg" /etc/try/haproxy.cfg
		bed "$host" put "$TRY/haproxy.service" /etc/systemd/system/haproxy.service
		bed "$host" run sh -c 'systemctl daemon-reload && systemctl start haproxy'
	done
	ip netns add "$NET-client"
	join client "$NET-client"
	ip -n "$NET-client" address add 10.78.0.10/24 dev eth0
	ip -n "$NET-client" link set lo up
	ip -n "$NET-client" link set eth0 up
	trap - EXIT
}

join() { # name in the LAN, its namespace
	ip -n "$NET-lan" link add name "$1" type veth peer name eth0 netns "$2"
	ip -n "$NET-lan" link set dev "$1" master br0 up
}

run() {
	export ANSIBLE_SSH_ARGS="-F $TRY/ssh_config"
	exec ip netns exec "$NET-client" "$@"
}

down() {
	for host in $hosts; do
		ssh -F "$TRY/ssh_config" -O exit "root@10.78.0.${host#*:}" 2>/dev/null || :
		host=${host%:*}
		[ ! -d "$TRY/$host" ] || bed "$host" down
	done
	for net in lan client; do
		[ ! -e "/run/netns/$NET-$net" ] || {
			for pid in $(ip netns pids "$NET-$net"); do kill -9 "$pid" 2>/dev/null || :; done
			ip netns del "$NET-$net"
		}
	done
	rm -rf "$TRY"
}

case $#:${1-} in
2:lose)
	ip=${hosts#*"$2":} ip=10.78.0.${ip%% *}
	ssh -F "$TRY/ssh_config" -O exit "root@$ip"
	;;
1:up | 1:down) "$1" ;;
[2-9]:run | 1?:run | 2?:run)
	shift
	run "$@"
	;;
[3-9]:at | 1?:at | 2?:at)
	host=$2
	shift 2
	bed "$host" run "$@"
	;;
*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
esac
