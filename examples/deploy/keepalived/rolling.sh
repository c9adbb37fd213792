#!/bin/sh
# rolling.sh: upgrades node by node. It touches none while another is out, and
# goes on when the balancer says that the last one is back. It can be run again
# after a failure: the node that is out comes first.
#
#   rolling.sh
#
# Exit codes: 0 done; 1 the upgrade of a node has failed, and the others are as
# they were; 2 wrong usage; 6 wrong configuration; 150 a node is not back in
# time; 155 a node other than the one to upgrade is out; nothing more was touched
set -u

: "${NODES:=a b}"
: "${ON:=ssh}"                      # ON NODE COMMAND runs it on that node
: "${UPGRADE:=/srv/app/upgrade.sh}" # a command there: new binary in place, control.sh restart
: "${STATE:=}"                      # STATE NODE says MASTER, BACKUP or UP if it is in; default: asks keepalived there
: "${FILE:=/etc/keepalived/state}"  # where keepalived.conf has that written
: "${TIMEOUT:=30}"                  # seconds, for a node to come back

say() { printf '%s\n' "${0##*/}: $*"; }
fail() { # code, message
	code=$1
	shift
	say "$@" >&2
	exit "$code"
}

# shellcheck disable=SC2086 # ON, UPGRADE and STATE are commands, to be split
on() { $ON "$@"; }

state() { # node
	# shellcheck disable=SC2086
	if [ -n "$STATE" ]; then $STATE "$1"; else on "$1" cat "$FILE"; fi 2>/dev/null
}

is_in() { # node
	case $(state "$1") in MASTER | BACKUP | UP) return 0 ;; esac
	return 1
}

within() { # seconds, command
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -le "$end" ] || return 1
		sleep 0.1 2>/dev/null || sleep 1
	done
}

others_in() { # node
	for other in $NODES; do
		[ "$other" = "$1" ] || is_in "$other" || return 1
	done
}

[ $# = 0 ] || fail 2 "wants no arguments: see its head for what to set"
case $NODES in *[!\ ]\ [!\ ]*) ;; *) fail 6 "NODES is \"$NODES\": with less than two somebody is always refused" ;; esac

# Who is out first, since it must not be the other one's last hope, and who has
# the address last, so that it moves once.
first='' middle='' last=''
for node in $NODES; do
	case $(state "$node") in
	MASTER) last="$last $node" ;;
	BACKUP | UP) middle="$middle $node" ;;
	*) first="$first $node" ;;
	esac
done

for node in $first $middle $last; do
	others_in "$node" || fail 155 "$node: not touched, $other is out ($(state "$other")): it must serve meanwhile"
	say "$node: upgrading"
	# shellcheck disable=SC2086
	on "$node" $UPGRADE || fail 1 "$node: the upgrade has failed with code $?; the other nodes are as they were"
	within "$TIMEOUT" is_in "$node" || fail 150 "$node: upgraded, but not back in the balancer after $TIMEOUT s ($(state "$node"))"
	say "$node: back, $(state "$node")"
done
