#!/bin/sh
# net.sh: a network to try this in, of namespaces on one machine: two nodes and
# a client on a bridge. The machine's own network stays as it is.
#
#   net.sh up      makes it, anew if there is one
#   net.sh down    removes it
#
#   lan      the bridge
#   a        10.77.0.1    a node; eth0 is its interface, as everywhere
#   b        10.77.0.2    the other one
#   client   10.77.0.3
#
# ip netns exec $NET-client curl … asks as a client would. Needs root, iproute2.
set -eu

: "${NET:=baton}" # the namespaces are NET-lan, NET-a, …

down() {
	for host in lan a b client; do
		[ ! -e "/run/netns/$NET-$host" ] || ip netns del "$NET-$host"
	done
}

up() {
	down
	ip netns add "$NET-lan"
	ip -n "$NET-lan" link add name br0 up type bridge
	n=0
	for host in a b client; do
		n=$((n + 1))
		ip netns add "$NET-$host"
		ip -n "$NET-lan" link add name "$host" type veth peer name eth0 netns "$NET-$host"
		ip -n "$NET-lan" link set dev "$host" master br0 up
		ip -n "$NET-$host" address add "10.77.0.$n/24" dev eth0
		ip -n "$NET-$host" link set lo up
		ip -n "$NET-$host" link set eth0 up
	done
}

case $#:${1-} in
1:up | 1:down) "$1" ;;
*) echo "${0##*/}: want up or down" >&2 && exit 2 ;;
esac
