#!/bin/sh
# net.sh: a network to try this in, of namespaces on one machine: a client, the
# director, and behind it two nodes. The machine's own network stays as it is.
#
#   net.sh up      makes it, anew if there is one
#   net.sh down    removes it
#
#   client     10.78.0.2
#   director   10.78.0.1 and, for the service, 10.78.0.100; 10.78.1.254 inside
#   a          10.78.1.1    a node; its way out is through the director
#   b          10.78.1.2    the other one
#
# ip netns exec $NET-client curl … asks as a client would. Needs root, iproute2.
set -eu

: "${NET:=baton}" # the namespaces are NET-client, NET-director, …

down() {
	for host in client director a b; do
		[ ! -e "/run/netns/$NET-$host" ] || ip netns del "$NET-$host"
	done
}

up() {
	down
	for host in client director a b; do
		ip netns add "$NET-$host"
		ip -n "$NET-$host" link set dev lo up
	done
	ip -n "$NET-director" link add name eth0 type veth peer name eth0 netns "$NET-client"
	ip -n "$NET-director" address add 10.78.0.1/24 dev eth0
	ip -n "$NET-director" address add 10.78.0.100/32 dev eth0
	ip -n "$NET-director" link set dev eth0 up
	ip -n "$NET-client" address add 10.78.0.2/24 dev eth0
	ip -n "$NET-client" link set dev eth0 up
	ip -n "$NET-director" link add name br0 up type bridge
	ip -n "$NET-director" address add 10.78.1.254/24 dev br0
	ip netns exec "$NET-director" sysctl -q -w net.ipv4.ip_forward=1
	n=0
	for host in a b; do
		n=$((n + 1))
		ip -n "$NET-director" link add name "$host" type veth peer name eth0 netns "$NET-$host"
		ip -n "$NET-director" link set dev "$host" master br0 up
		ip -n "$NET-$host" address add "10.78.1.$n/24" dev eth0
		ip -n "$NET-$host" link set dev eth0 up
		ip -n "$NET-$host" route add default via 10.78.1.254
	done
}

case $#:${1-} in
1:up | 1:down) "$1" ;;
*) echo "${0##*/}: want up or down" >&2 && exit 2 ;;
esac
