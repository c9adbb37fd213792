#!/bin/sh
# stay.sh: lets connections stay where they are when the address moves. Run it
# on both nodes, at boot, before the service and keepalived.
#
#   stay.sh up      puts it in place; again, with other settings, replaces them
#   stay.sh down    removes it: open connections may die when the address moves
#
# The address stands on lo of both nodes, whoever has it on DEV: a connection
# goes on there. Only who has it on DEV answers ARP for it, and so gets the
# packets. Those of connections that are not its own, it hands to the other
# node, which answers by itself.
set -eu

: "${VIP:=10.77.0.100}" # the address that moves
: "${PORT:=8080}"       # of the service, there
: "${DEV:=eth0}"        # where keepalived puts it
: "${PEER:=}"           # the other node's own address, in the same LAN

here=${0%/*}
[ "$here" != "$0" ] || here=.
[ -e "$here/common.sh" ] || here=$here/.. # it needs that, beside it or a folder above
# shellcheck source=/dev/null
. "$here/common.sh"
right_numbers "$0"

set_to() { # setting, value
	sysctl -q -w "$1=$2" || fail 1 "cannot set $1: run this as root, with the module nf_conntrack loaded"
}

up() {
	[ -n "$PEER" ] || fail 6 "PEER is not set: set it to the other node's own address"
	ip link show dev "$DEV" >/dev/null 2>&1 ||
		fail 6 "there is no interface $DEV: set DEV to the one that VIP is to stand on"
	# 42 in the DSCP field means: this has been handed over once. What neither
	# knows gets its reset, and does not go round. Should something between the
	# two rewrite that field, the TTL is the end of it; dup counts that down, but
	# does not stop at 0.
	# One transaction: to remove the last rule that needs connection tracking
	# would forget all connections.
	nft -f - <<-END || fail 1 "nft has refused the rules: run this as root; the kernel needs nft_ct and nft_dup_ipv4"
		table ip stay
		delete table ip stay
		table ip stay {
			chain prerouting {
				type filter hook prerouting priority mangle
				iifname "$DEV" ip daddr $VIP tcp dport $PORT ct state invalid ip dscp != 42 ip ttl > 1 ip dscp set 42 counter dup to $PEER device "$DEV" drop
			}
		}
	END
	# Else a packet from the middle of a connection begins one in the table …
	set_to net.netfilter.nf_conntrack_tcp_loose 0
	# … and one that comes out of order is held to belong to none.
	set_to net.netfilter.nf_conntrack_tcp_be_liberal 1
	set_to "net.ipv4.conf.$DEV.arp_ignore" 1   # lo's addresses are not for ARP,
	set_to "net.ipv4.conf.$DEV.arp_announce" 2 # neither to answer nor to ask with
	ip address replace "$VIP/32" dev lo
}

down() {
	ip address del "$VIP/32" dev lo 2>/dev/null || :
	nft delete table ip stay 2>/dev/null || :
}

case $#:${1-} in
1:up | 1:down) "$1" ;;
*) fail 2 "want up or down" ;;
esac
