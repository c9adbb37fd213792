#!/bin/sh
# checker.sh: a balancer that knows nothing of HTTP. It connects to a port of
# each node, and spreads new connections over the nodes where it can. Those that
# are open stay where they are: the kernel's connection tracking sees to that.
#
#   checker.sh run           checks until it is ended; the rules stay, and the next
#                            run changes them when it has made up its mind anew
#   checker.sh state NODE    says UP, DOWN, or nothing while that is not known
#
# Needs root, nftables, socat.
set -u

: "${NODES:=10.78.1.1 10.78.1.2}"
: "${VIP:=10.78.0.100}"
: "${PORT:=8080}"       # of the service, at VIP and at the nodes
: "${HEARTBEAT:=8081}"  # the port to connect to; PORT itself can't be pulled
: "${INTERVAL:=1}"      # seconds between two connects
: "${TIMEOUT:=1}"       # seconds for one of them
: "${FALL:=2}"           # so many failures in a row, and a node gets nothing new: one
                        # less than the service's Failures, for a late connect
: "${RISE:=1}"          # so many successes in a row, and it does again
: "${RUN:=/run/checker}" # a folder for the state

here=${0%/*}
[ "$here" != "$0" ] || here=.
[ -e "$here/common.sh" ] || here=$here/.. # it needs that, beside it or a folder above
# shellcheck source=/dev/null
. "$here/common.sh"
right_numbers "$0"

connects() { socat -u OPEN:/dev/null "TCP4:$1:$HEARTBEAT,connect-timeout=$TIMEOUT" 2>/dev/null; }

# probe leaves in a file how often in a row it has been the same, and what.
probe() { # node
	if connects "$1"; then is=up; else is=down; fi
	{ read -r count was <"$RUN/$1.count"; } 2>/dev/null || was=''
	[ "$is" = "$was" ] || count=0
	echo "$((count + 1)) $is" >"$RUN/$1.count"
}

judge() { # node
	read -r count is <"$RUN/$1.count"
	if [ "$is" = up ] && [ "$count" -ge "$RISE" ]; then
		echo UP
	elif [ "$is" = down ] && [ "$count" -ge "$FALL" ]; then
		echo DOWN
	else
		state "$1"
	fi
}

# spread is one transaction: no connection comes in between. With no node at
# all the connection is for this machine, which refuses it.
spread() { # nodes
	map='' n=0
	for node; do
		map="$map${map:+, }$n : $node"
		n=$((n + 1))
	done
	rule="add rule ip checker nodes ip daddr $VIP tcp dport $PORT dnat to numgen inc mod $n map { $map }"
	[ $n -gt 0 ] || rule=''
	nft -f - <<-END || fail 1 "nft has refused the rules: run this as root; the kernel needs nft_nat and nft_numgen"
		add table ip checker
		add chain ip checker nodes { type nat hook prerouting priority dstnat; }
		flush chain ip checker nodes
		$rule
	END
	say "new connections go to: ${*:-nobody}"
}

run() {
	command -v socat >/dev/null || fail 6 "needs socat: install it"
	mkdir -p "$RUN" || fail 6 "cannot make $RUN: set RUN to a folder that you may write"
	rm -f "$RUN"/*.state "$RUN"/*.count
	spread_to=none
	while :; do
		sleep "$INTERVAL" &
		for node in $NODES; do
			probe "$node" &
		done
		wait
		up='' known=1
		for node in $NODES; do
			case $(judge "$node") in
			UP) up="$up $node" ;;
			'') known='' ;;
			esac
		done
		if [ -z "$known" ] || [ "$up" = "$spread_to" ]; then continue; fi
		# shellcheck disable=SC2086 # a list of them
		spread $up
		spread_to=$up
		# Now it is a fact.
		for node in $NODES; do
			case "$up " in *" $node "*) now=UP ;; *) now=DOWN ;; esac
			echo $now >"$RUN/$node.state"
		done
	done
}

state() { cat "$RUN/$1.state" 2>/dev/null; }

case $#:${1-} in
1:run) run ;;
2:state) state "$2" ;;
*) fail 2 "want run, or state NODE" ;;
esac
