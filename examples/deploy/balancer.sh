#!/bin/sh
# balancer.sh: a file of the folder balancer as a command of its own, for a tool that takes release.sh's place: the
# Ansible role runs it at the machine of the balancer.
#
#   settings       fails with 6 where a setting is wrong
#   status         prints a line for each of NODES: its name; yes where it has its requests, no where it has none, or
#                  some; and how the balancer has it
#   out NODE       no new requests for it; returns when that is so
#   in NODE [N]    N % (100) of its share of the requests; returns when that is so
#   ready NODE…    succeeds if each of them has its requests
#
# Exit codes are those of the file: 1 not done, 6 wrong settings.

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=/dev/null
. "$here/common.sh"

: "${NODES:=}"               # the names of all
: "${WEIGHT:=100}"           # the least of all N: for settings
: "${BALANCER:=haproxy}"     # as release.sh has it
: "${BALANCER_TIMEOUT:=60}"  # likewise
export ON=''

load_balancer
right_numbers "$0" "$BALANCER"

verb=${1-}
case $#:$verb in
1:settings | 1:status | 2:out | [23]:in | [2-9]:ready | [1-9][0-9]:ready) shift ;;
*) fail 2 "want settings, status, out NODE, in NODE [N] or ready NODE…" ;;
esac
case $verb in
settings) balancer_settings ;;
status)
	for node in $NODES; do
		if balancer_ready "$node"; then has=yes; elif balancer_none "$node"; then has=no; else has=some; fi
		printf '%s\n' "$node $has $(balancer_status "$node")"
	done
	;;
out) [ -n "$balancer_probes" ] || balancer_out "$1" ;;
in) balancer_in "$1" "${2-100}" ;;
ready)
	for node; do
		balancer_ready "$node" || fail 1 "$node has no traffic: $(balancer_status "$node")"
	done
	;;
esac
