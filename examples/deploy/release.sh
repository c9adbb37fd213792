#!/bin/sh
# release.sh: a new version for the nodes behind a balancer, one after the other:
# a share of them first, a look at how they do, then the rest or the way back.
#
#   upgrade FILE  the share, GATE, the rest; FILE is the new binary
#   share FILE    the share only; continue or rollback when you have seen enough
#   continue      goes on with what was stopped or interrupted, whichever way it went
#   rollback      gives each node that has the new version the old one back, also
#                 after the release is complete, until the next one. One that did
#                 not run before keeps it
#   status        says how far it is, and where the balancer has the nodes; exit
#                 code 1: in the middle
#
# METHOD is what happens to a node:
#   restart  out of the balancer, stop, put, start, check, into the balancer
#   swap     put, swap in place, check; needs no balancer
#   colours  of two nodes one is live. The other one is put, started, checked, and
#            checked through the balancer. The balancer sends all requests there,
#            and the one that was live is stopped when it has finished its own
#
# A node that does not run, or has no traffic, comes first: it has nothing to lose. One
# that has is touched only while all others have theirs, and are well.
#
# Exit codes:
#   0  done
#   1  a node failed and has its old version and its traffic back. The release
#      has stopped: continue tries that node again, rollback is the way back
#   2  wrong usage
#   3  GATE failed: all nodes have the old version back
#   4  a step is not done, and a node may be out of traffic: see what it says,
#      then continue (or rollback)
#   5  another node is not well, so no other may be taken out: nothing was
#      touched since the last node that was done
#   6  wrong or missing configuration
#   7  a release is under way: continue, rollback, or wait for the one that runs
#
# STATE remembers, so that after a crash or a kill -9 in any step continue or
# rollback repairs what was left. Each step is a process of its own, which bears to
# be run again after an interruption. A TERM or HUP for this script lets the node's turn
# end, and it exits with 4. Ctrl-C ends the step too, and the node gets its old version back.
#
# What it knows of nodes is a command, AT_NODE VERB NODE: see node.sh. What it knows
# of the balancer is a file that defines
#
#   balancer_settings       checks them with fail 6, before anything is touched
#   balancer_out NODE       no new requests for it; returns when that is so
#   balancer_in NODE N      N % of its share of the requests; returns when that is so
#   balancer_ready NODE     succeeds if it has its requests now
#   balancer_status NODE    says how it is. MASTER: all requests are its, it comes last
#   balancer_try NODE       PREVIEW reaches it; returns when that is so. For colours
#
# and sets balancer_weights if N may be less than 100, and balancer_probes if it
# learns from its probes alone: then the stop itself takes the traffic away, and
# there is no balancer_out. Common.sh is there for it. What takes longer than
# BALANCER_TIMEOUT fails with 1.
#
# It needs flock (util-linux, busybox).

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=/dev/null
. "$here/common.sh"
# shellcheck source=/dev/null
. "$here/colours.sh"

: "${NODES:=}"               # their names, in the order of their turns
: "${SHARE:=1}"              # so many of them first
: "${WEIGHT:=100}"           # with so many percent of their traffic until GATE has passed
: "${GATE:=}"                # a command that says, by its exit code, whether the share does well
: "${BALANCER:=}"            # haproxy, nginx, keepalived, traefik, or the path of a file of yours
: "${BALANCER_TIMEOUT:=60}"  # seconds: your longest request, and until a node is seen to be back
: "${AT_NODE:=}"             # a command, split at blanks; default node.sh beside this file
: "${ON:=}"                  # a command, such as ssh: ON NODE AT_NODE… reaches the node
: "${STATE:=./release}"      # a folder
: "${STEP_TIMEOUT:=180}"     # seconds to wait for the last step of a release that was killed

# Without a balancer all have their requests, always.
balancers="haproxy, nginx, keepalived, traefik, or a file of yours"
balancer_settings() { [ "$METHOD" = swap ] || fail 6 "set BALANCER: $balancers"; }
balancer_in() { :; }
balancer_ready() { :; }
balancer_status() { :; }
balancer_weights='' balancer_probes=''
if [ -n "$BALANCER" ]; then
	case $BALANCER in */*) ;; *) BALANCER=$here/balancer/$BALANCER.sh ;; esac
	[ -r "$BALANCER" ] || fail 6 "$BALANCER cannot be read: set BALANCER to $balancers"
	# shellcheck source=/dev/null
	. "$BALANCER"
fi
: "${METHOD:=restart}"

# balancer calls the file's function in a process of its own.
balancer() { # name, arguments
	name=$1
	shift
	("balancer_$name" "$@")
}

at_node() { # verb, node, arguments
	# shellcheck disable=SC2086 # commands and their arguments
	${ON:+$ON "$2"} ${AT_NODE:-sh "$here/node.sh"} "$@"
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
	{ mkdir -p "$STATE" && : >>"$STATE/lock"; } 2>/dev/null ||
		fail 6 "cannot write to $STATE: set STATE to a folder that you may write"
	exec 9>>"$STATE/lock"
	if ! flock -n 9; then
		holder=
		read -r holder <"$STATE/lock"
		! kill -0 "$holder" 2>/dev/null || fail 7 "a release runs already: pid $holder"
		say "the last step of a release that was interrupted still runs: waiting for it"
		flock -w "$STEP_TIMEOUT" 9 ||
			fail 7 "a step of the release of pid $holder, which is gone, is not over after $STEP_TIMEOUT s"
	fi
	echo $$ >"$STATE/lock"
}

interrupted=''
trap 'interrupted=yes' HUP INT TERM
go_on() { [ -z "$interrupted" ] || fail 4 "interrupted: continue or rollback"; }

number() { # name, value, highest
	case $2 in '' | 0* | *[!0-9]*) ;; *) [ "$2" -gt "$3" ] || return 0 ;; esac
	fail 6 "$1 is \"$2\": want a number from 1 to $3"
}

# begin checks everything, and plans.
begin() { # file
	! under_way || fail 7 "a release is under way: continue or rollback first"
	{ [ -f "$1" ] && [ -s "$1" ]; } || fail 2 "$1 is not there, or empty: name the new binary"
	for node in $NODES; do
		case $node in *[!A-Za-z0-9._-]*) fail 6 "NODES: \"$node\": want letters, digits, and any of . _ -" ;; esac
	done
	set -f
	# shellcheck disable=SC2086
	set -- "$1" $NODES
	case $METHOD:$# in
	swap:1 | restart:[12]) fail 6 "NODES is \"$NODES\": want the names of two nodes or more; METHOD=swap does with one" ;;
	restart:* | swap:*) ;;
	colours:3) command -v balancer_try >/dev/null || fail 6 "METHOD is colours, which this BALANCER knows nothing of" ;;
	colours:*) fail 6 "NODES is \"$NODES\": want the names of two nodes, one of which is live" ;;
	*) fail 6 "METHOD is \"$METHOD\": want restart, swap or colours" ;;
	esac
	number SHARE "$SHARE" $(($# - 1))
	number WEIGHT "$WEIGHT" 100
	[ "$WEIGHT" = 100 ] || [ -n "$balancer_weights" ] || fail 6 "WEIGHT is $WEIGHT: this BALANCER knows nothing but 100"
	# shellcheck disable=SC2086
	[ -z "$GATE" ] || command -v ${GATE%% *} >/dev/null || fail 6 "GATE is \"$GATE\": there is no such command"
	balancer settings || exit
	file=$1 dead='' first='' middle='' late=''
	for node in $NODES; do
		at_node check "$node"
		case $METHOD:$?:$(balancer status "$node") in
		*:6:*) fail 6 "the settings of $node are wrong: nothing was touched" ;;
		restart:3:* | swap:3:*) dead="$dead $node" ;;
		*:MASTER) late="$late $node" ;;
		*:0:* | colours:*) if balancer ready "$node"; then middle="$middle $node"; else first="$first $node"; fi ;;
		*) first="$first $node" ;;
		esac
	done
	# shellcheck disable=SC2086
	set -- $dead $first $middle $late
	[ "$METHOD$middle" != colours ] || set -- "$1" # none is live yet
	NODES=$*
	[ -n "$dead" ] || [ "$METHOD" = colours ] || spared "$1" || fail 5 "nothing was touched"
	# The journal comes last: without it nothing has begun.
	{
		cp "$file" "$STATE/new.tmp" && mv "$STATE/new.tmp" "$STATE/new" &&
			printf '%s\n' "NODES=$NODES" "SHARE=$SHARE" "WEIGHT=$WEIGHT" "METHOD=$METHOD" "PAUSE=$verb" >"$STATE/plan" &&
			printf '%s release of %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$file" >"$STATE/journal.new" &&
			mv "$STATE/journal.new" "$STATE/journal"
	} || fail 6 "cannot write to $STATE: nothing was touched"
}

# plan is what the release began with, whatever the settings are now.
plan() {
	[ -e "$STATE/journal" ] || fail 6 "$STATE has no release: set STATE to the folder of the release"
	while IFS='=' read -r name value; do
		case $name in
		NODES) NODES=$value ;;
		SHARE) SHARE=$value ;;
		WEIGHT) WEIGHT=$value ;;
		METHOD) METHOD=$value ;;
		PAUSE) PAUSE=$value ;;
		esac
	done <"$STATE/plan"
	new=${NODES%% *} live=${NODES#"$new"} live=${live# } # for colours
}

# spared: the others can do without it, or do already.
spared() { # node
	balancer ready "$1" || return 0
	for other in $NODES; do
		if [ "$other" != "$1" ] && ! { balancer ready "$other" && at_node check "$other"; }; then
			say "$1 is not touched while $other is not well: $(balancer status "$other")" >&2
			return 1
		fi
	done
}

# paused asks GATE once; from there on the share has its whole traffic.
paused() {
	go_on
	if [ "$PAUSE" = share ] && ! noted shared; then
		note shared
		return
	fi
	if ! noted passed; then
		# shellcheck disable=SC2086
		if [ -n "$GATE" ] && ! $GATE; then
			go_on
			say "\"$GATE\" failed: the way back"
			back
			exit 3
		fi
		note passed
	fi
	return 1
}

forward() {
	i=0
	for node in $NODES; do
		i=$((i + 1))
		go_on
		if [ "$i" -le "$SHARE" ]; then renew "$node" "$WEIGHT"; else renew "$node" 100; fi
		[ "$i" -eq "$SHARE" ] || continue
		if paused; then return; fi
		[ "$WEIGHT" != 100 ] || continue
		j=0
		for shared in $NODES; do
			[ "$j" -ge "$SHARE" ] || give "$shared" 100
			j=$((j + 1))
		done
	done
	note complete
}

renew() { # node, weight
	case $(last "$1") in
	new) return ;;
	taken) ;; # what it had before has been kept
	*)
		at_node check "$1"
		was=$?
		[ "$was" = 3 ] || spared "$1" || fail 5 "continue or rollback"
		at_node keep "$1" || fail 5 "$1: the old version could not be kept: continue or rollback"
		case $was in 0) ;; 3) note "dead $1" ;; *) note "unwell $1" ;; esac
		note "taken $1"
		;;
	esac
	if ! leave "$1" empty; then
		give "$1" 100
		note "old $1"
		fail 1 "$1: its traffic could not be taken away; it was not touched: continue or rollback"
	fi
	if ! change "$1" put; then
		say "$1 failed with the new version: it gets the old one back"
		revert "$1"
		fail 1 "$1 failed, and has its old version back: continue tries it again, rollback is the way back for all"
	fi
	give "$1" "$2"
	note "new $1"
}

# leave takes its traffic away, where that is not what its stop does.
leave() { # node, maybe empty
	[ "$METHOD" != swap ] && [ -z "$balancer_probes" ] || return 0
	balancer out "$1" && { [ $# = 1 ] || at_node empty "$1"; }
}

change() { # node, put or restore
	if [ "$METHOD" = swap ]; then
		at_node "$2" "$1" <"$STATE/new" && at_node swap "$1" && at_node check "$1"
	else
		at_node stop "$1" && at_node "$2" "$1" <"$STATE/new" && at_node start "$1" && at_node check "$1"
	fi
}

give() { # node, weight
	balancer in "$1" "$2" || fail 4 "$1 is well, but its traffic could not be given back: continue or rollback"
}

# revert asks nobody whether the others are well: the new version may be what ails them.
revert() { # node
	if leave "$1" && change "$1" restore; then
		give "$1" 100
	elif noted "dead $1" || noted "unwell $1"; then
		say "$1 is not well, as it was before"
	else
		fail 4 "$1 could not be given its old version back: continue or rollback when that is mended"
	fi
	note "old $1"
}

# back takes the node first that is out of traffic already.
back() {
	if [ "$METHOD" = colours ] && [ -z "$live" ] && [ "$(last "$new")" = new ]; then
		fail 6 "there was nothing before $new, which stays as it is"
	fi
	noted rollback || note rollback
	if [ "$METHOD" = colours ]; then
		stay
	else
		for word in taken new; do
			for node in $NODES; do
				[ "$(last "$node")" = $word ] || continue
				go_on
				if [ $word = new ] && noted "dead $node"; then
					say "$node did not run before: it keeps the new version"
					give "$node" 100
				else
					revert "$node"
				fi
			done
		done
	fi
	note "rolled back"
}

status() {
	[ -e "$STATE/journal" ] || {
		say "there has been no release"
		return
	}
	cat "$STATE/journal"
	plan
	for node in $NODES; do
		say "$node: $(balancer status "$node")"
	done
	under_way || return 0
	say "in the middle: continue or rollback"
	exit 1
}

verb=${1-}
case $#:$verb in
1:status) status && exit ;;
2:upgrade | 2:share | 1:continue | 1:rollback) ;;
*) fail 2 "want upgrade FILE, share FILE, continue, rollback or status" ;;
esac
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
	elif [ "$METHOD" = colours ]; then
		switch
	else
		forward
	fi
	;;
esac
