#!/bin/sh
# release.sh: a new version for several nodes behind a balancer: a share of them
# first, a look at how they do, then the rest or the way back. For each node:
# check the others, take its traffic away, stop, replace, start, check, give its
# traffic back.
#
#   upgrade FILE  the share, GATE, the rest; FILE is the new binary
#   share FILE    the share only; continue or rollback when you have seen enough
#   continue      goes on with what was stopped or interrupted, whichever way it went
#   rollback      gives each node that has the new version the old one back, also
#                 after the release is complete, until the next one
#   status        says how far it is; exit code 1: in the middle
#
# Exit codes:
#   0  done
#   1  a node failed and has its old version and its traffic back. The release
#      has stopped: continue tries that node again, rollback is the way back
#   2  wrong usage
#   3  GATE failed: all nodes have the old version back
#   4  a node is out of traffic, or a step on the way back failed: see what it
#      says, then continue (or rollback)
#   5  another node is not well, so no other may be taken out: nothing was
#      touched since the last node that was done
#   6  wrong or missing configuration
#   7  a release is under way: continue, rollback, or wait for the one that runs
#
# STATE remembers, so that after a crash or a kill -9 in any step continue or
# rollback repairs what was left. What it knows of nodes and of the balancer are
# two commands, split at blanks:
#
#   AT_NODE check|keep|empty|stop|put|restore|start NODE [FILE]      see node.sh
#   BALANCER down NODE     no new requests for it; returns when that is so
#   BALANCER up NODE N     N % of its share of the requests; returns when that is so
#
# Both are called again after an interruption and must bear it; they have done
# what they were asked when they return 0, and leave no process behind.
#
# It needs flock (util-linux, busybox).

: "${NODES:=}"           # their names, in the order of their turns
: "${SHARE:=1}"          # so many of them first
: "${WEIGHT:=100}"       # with so many percent of their traffic until GATE has passed
: "${GATE:=}"            # a command that says, by its exit code, whether the share does well
: "${BALANCER:=}"        # a command, as above; haproxy.sh, ../nginx/upstream.sh
: "${AT_NODE:=}"         # a command, as above; default node.sh beside this file
: "${STATE:=./release}"  # a folder
: "${STEP_TIMEOUT:=180}" # seconds to wait for the last step of a release that was killed

here=$(dirname "$0")

say() { printf '%s\n' "${0##*/}: $*"; }
fail() { # code, message
	code=$1
	shift
	say "$@" >&2
	exit "$code"
}

at_node() {
	# shellcheck disable=SC2086 # a command and its arguments
	if [ -n "$AT_NODE" ]; then $AT_NODE "$@"; else sh "$here/node.sh" "$@"; fi
}

balancer() {
	# shellcheck disable=SC2086
	$BALANCER "$@"
}

# The journal is what has happened; its last word on a node is where that is:
# taken (in the middle of its turn), new, or old.
note() {
	printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$STATE/journal" || fail 4 "cannot write $STATE/journal"
	say "$*"
}
noted() { cut -d ' ' -f 2- "$STATE/journal" 2>/dev/null | grep -q -x -F -e "$*"; }
last() { awk -v node="$1" '$3 == node { word = $2 } END { print word }' "$STATE/journal"; }
under_way() { # or the last word is one of the end
	[ -e "$STATE/journal" ] || return
	case $(tail -n 1 "$STATE/journal") in *" complete" | *" rolled back") return 1 ;; esac
}

# A killed release leaves its last step running, which has inherited the lock.
lock() {
	command -v flock >/dev/null || fail 6 "needs flock: install util-linux"
	{ mkdir -p "$STATE" && : >>"$STATE/lock"; } 2>/dev/null || fail 6 "cannot write to $STATE: set STATE to a folder that you may write"
	exec 9>>"$STATE/lock"
	if ! flock -n 9; then
		holder=
		read -r holder <"$STATE/lock"
		! kill -0 "$holder" 2>/dev/null || fail 7 "a release runs already: pid $holder"
		say "the last step of a release that was interrupted still runs: waiting for it"
		flock -w "$STEP_TIMEOUT" 9 || fail 7 "a step of the release of pid $holder, which is gone, is not over after $STEP_TIMEOUT s"
	fi
	echo $$ >"$STATE/lock"
}

begin() { # file
	! under_way || fail 7 "a release is under way: continue or rollback first"
	{ [ -f "$1" ] && [ -x "$1" ]; } || fail 2 "$1 is no executable file: name the new binary"
	set -f
	# shellcheck disable=SC2086
	set -- "$1" $NODES
	[ $# -ge 3 ] || fail 6 "NODES is \"$NODES\": want the names of two nodes or more; one alone is swapped by control.sh reload"
	number SHARE "$SHARE" $(($# - 1))
	number WEIGHT "$WEIGHT" 100
	for node in $NODES; do
		case $node in *[!A-Za-z0-9._-]*) fail 6 "NODES: \"$node\": want letters, digits, and any of . _ -" ;; esac
		at_node check "$node" || fail 5 "$node is not well: nothing was touched"
	done
	# The journal comes last: without it nothing has begun.
	{
		cp "$1" "$STATE/new.tmp" && mv "$STATE/new.tmp" "$STATE/new" &&
			printf 'NODES="%s"\nSHARE=%s\nWEIGHT=%s\nPAUSE=%s\n' "$NODES" "$SHARE" "$WEIGHT" "$verb" >"$STATE/plan" &&
			printf '%s release of %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >"$STATE/journal.new" &&
			mv "$STATE/journal.new" "$STATE/journal"
	} || fail 6 "cannot write to $STATE: nothing was touched"
}

number() { # name, value, highest
	case $2 in '' | 0* | *[!0-9]*) ;; *) [ "$2" -gt "$3" ] || return 0 ;; esac
	fail 6 "$1 is \"$2\": want a number from 1 to $3"
}

forward() {
	i=0
	for node in $NODES; do
		i=$((i + 1))
		if [ "$i" -le "$SHARE" ]; then renew "$node" "$WEIGHT"; else renew "$node" 100; fi
		[ "$i" -eq "$SHARE" ] || continue
		if [ "$PAUSE" = share ] && ! noted shared; then
			note shared
			return
		fi
		gate
	done
	note complete
}

# gate is passed once; from there on the share has its whole traffic.
gate() {
	if ! noted passed; then
		# shellcheck disable=SC2086
		if [ -n "$GATE" ] && ! $GATE; then
			say "\"$GATE\" failed: the way back"
			back
			exit 3
		fi
		note passed
	fi
	j=0
	for node in $NODES; do
		j=$((j + 1))
		if [ "$j" -gt "$SHARE" ] || [ "$WEIGHT" = 100 ]; then break; fi
		give "$node" 100
	done
}

renew() { # node, weight
	case $(last "$1") in
	new) return ;;
	taken) ;; # what it had before has been kept
	*)
		for other in $NODES; do
			[ "$other" = "$1" ] || at_node check "$other" || fail 5 "$1 is not taken out while $other is not well: continue or rollback"
		done
		at_node keep "$1" || fail 5 "$1: the old version could not be kept: continue or rollback"
		note "taken $1"
		;;
	esac
	if ! { balancer down "$1" && at_node empty "$1"; }; then
		give "$1" 100
		note "old $1"
		fail 1 "$1: its traffic could not be taken away; it was not touched: continue or rollback"
	fi
	if ! { at_node stop "$1" && at_node put "$1" "$STATE/new" && at_node start "$1" && at_node check "$1"; }; then
		say "$1 failed with the new version: it gets the old one back"
		revert "$1"
		fail 1 "$1 failed, and has its old version back: continue tries it again, rollback is the way back for all"
	fi
	give "$1" "$2"
	note "new $1"
}

give() { # node, weight
	balancer up "$1" "$2" || fail 4 "$1 is well, but its traffic could not be given back: continue or rollback"
}

# revert asks nobody whether the others are well: the new version may be what ails them.
revert() { # node
	{ balancer down "$1" && at_node stop "$1" && at_node restore "$1" && at_node start "$1" && at_node check "$1"; } ||
		fail 4 "$1 could not be given its old version back: continue or rollback when that is mended"
	give "$1" 100
	note "old $1"
}

# back takes the node first that is out of traffic already.
back() {
	noted rollback || note rollback
	for word in taken new; do
		for node in $NODES; do
			[ "$(last "$node")" != $word ] || revert "$node"
		done
	done
	note "rolled back"
}

status() {
	[ -e "$STATE/journal" ] || {
		say "there has been no release"
		return
	}
	cat "$STATE/journal"
	under_way || return 0
	say "in the middle: continue or rollback"
	exit 1
}

# plan is what the release began with, whatever the settings are now.
plan() {
	[ -e "$STATE/journal" ] || fail 6 "$STATE has no release: set STATE to the folder of the release"
	# shellcheck disable=SC1090,SC1091
	case $STATE in */*) . "$STATE/plan" ;; *) . "./$STATE/plan" ;; esac
}

verb=${1-}
case $#:$verb in
1:status) status && exit ;;
2:upgrade | 2:share | 1:continue | 1:rollback) ;;
*) fail 2 "want upgrade FILE, share FILE, continue, rollback or status" ;;
esac
[ -n "$BALANCER" ] || fail 6 "set BALANCER to the command that takes traffic from a node, such as \"sh $here/haproxy.sh\""
lock
case $verb in
upgrade | share) begin "$2" ;;
esac
plan
case $verb in
rollback)
	if noted "rolled back"; then
		say "rolled back already"
	else
		back
	fi
	;;
*)
	if ! under_way; then
		say "nothing to continue"
	elif noted rollback; then
		back
	else
		forward
	fi
	;;
esac
