#!/bin/sh
# release.sh: a new version for the nodes behind a balancer, one after the other:
# a share of them first, a look at how they do, then the rest or the way back.
#
#   upgrade FILE  the share, GATE, the rest; FILE is the new binary. The first one starts the nodes
#   share FILE    the share only; continue or rollback when you have seen enough
#   continue      goes on with what was stopped or interrupted, whichever way it went
#   rollback      gives each node that has the new version the old one back, also
#                 after the release is complete, until the next one. One that did
#                 not run before keeps it
#   status        says how far it is, where the balancer has the nodes, and what each runs
#   history       who has released what, when, and how that ended
#   --dry-run     before upgrade or share: checks all, says what it would do, and touches nothing
#
# METHOD is what happens to a node:
#   restart  out of the balancer, stop, put, start, check, into the balancer
#   swap     put, swap in place, check; needs no balancer
#   colours  of two nodes one is live. The other one is put, started, checked, and
#            checked through the balancer. The balancer sends all requests there,
#            and the one that was live is stopped when it has finished its own
#
# A node that does not run, or has no traffic, comes first: it has nothing to lose. One
# that has is touched only while all others have theirs, and are well. Where all nodes run FILE
# already, nothing is done, and rollback leads where it has led before.
#
# Exit codes, which README.md explains:
#   0  done: each node was looked at, and runs what it should
#   1  a node failed, and has its old version and its traffic back, or does not run,
#      as before. The release has stopped: continue tries that node again, rollback is the way back
#   2  wrong usage
#   3  GATE failed: all nodes have the old version back
#   4  a step is not done, and a node may be out of traffic: see what it says,
#      then continue (or rollback)
#   5  another node is not well, so no other may be taken out: nothing was
#      touched since the last node that was done
#   6  wrong or missing configuration: nothing was touched
#   7  a release is under way, here or by another STATE: it says whose and since when. Nothing was touched
#   8  done as with 0, but a stop had to cut requests off: it says where
#   9  interrupted: it says which nodes have what. Continue or rollback
# Of status: 0 nothing is under way, 1 in the middle, and nobody goes on, 7 a release runs.
#
# STATE remembers, so that after a crash or a kill -9 in any step continue or
# rollback repairs what was left. Each step is a process of its own, which may
# be run again after an interruption. A TERM, a HUP or a lost terminal lets the node's turn
# end. Ctrl-C ends the step too, and the node gets its old version back.
#
# What it knows of nodes is a command, AT_NODE VERB NODE: see node.sh. What it knows
# of the balancer is a file that defines
#
#   balancer_settings       checks them with fail 6, before anything is touched
#   balancer_out NODE       no new requests for it; returns when that is so
#   balancer_in NODE N      N % of its share of the requests; returns when that is so
#   balancer_ready NODE     succeeds if it has its requests now
#   balancer_none NODE      succeeds if it has none. Without it: what is not ready has none
#   balancer_status NODE    says how it is. MASTER: all requests are its, it comes last
#   balancer_try NODE       PREVIEW reaches it; returns when that is so. For colours
#
# and sets balancer_weights if N may be less than 100, and balancer_probes if it
# learns from its probes alone: then the stop itself takes the traffic away, and
# there is no balancer_out. Common.sh is there for it. What takes longer than
# BALANCER_TIMEOUT fails with 1.
#
# It needs flock (util-linux, busybox) and cksum.

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=/dev/null
. "$here/common.sh"
# shellcheck source=/dev/null
. "$here/record.sh"
# shellcheck source=/dev/null
. "$here/begin.sh"
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
: "${SETTINGS:=}"            # a file with the service's settings, as node.sh knows it
: "${VERSION:=}"             # what FILE is, for the names of folders, history and GATE

# Without a balancer all have their requests, always.
# shellcheck disable=SC2034 # for begin.sh
balancer_weights='' balancer_probes='' new='' by='' where='' begun='' GATE_then='' BALANCER_then=''
if [ -n "$BALANCER" ]; then
	load_balancer
else
	# shellcheck disable=SC2154 # common.sh has the names
	balancer_settings() { [ "$METHOD" = swap ] || fail 6 "set BALANCER: $balancers"; }
	balancer_in() { :; }
	balancer_ready() { :; }
	balancer_status() { :; }
	balancer_none() { :; }
fi
: "${METHOD:=restart}"
right_numbers "$0" "$here"/*.sh ${BALANCER:+"$BALANCER"}

# balancer calls the file's function in a process of its own.
balancer() { # name, arguments
	name=$1
	shift
	(trap '' HUP && "balancer_$name" "$@")
}

interrupted=''
trap 'interrupted=yes' HUP INT TERM PIPE
# A step that a signal has ended is no failure.
go_on() {
	[ -n "$interrupted" ] || return 0
	under_way || fail 9 "interrupted: nothing was touched"
	fail 9 "interrupted: $(whereabouts)continue or rollback"
}
# failed is the end of a turn that has left the node as it was.
failed() { # message
	go_on
	fail 1 "$@"
}
undone() { # message
	go_on
	fail 4 "$@"
}

# spared: the others can do without it, or do already.
spared() { # node
	if ! balancer ready "$1"; then
		if [ -z "$(balancer status "$1")" ]; then
			say "$1 is not touched: the balancer does not say how it is" >&2
			return 1
		fi
		! balancer none "$1" || return 0
	fi
	for other in $NODES; do
		if [ "$other" != "$1" ] && ! { balancer ready "$other" && at_node check "$other"; }; then
			go_on
			say "$1 is not touched while $other is not well: $(balancer status "$other")" >&2
			say "mend or start $other (its log, control.sh status), or stop it: in the next release, and after the share," \
				"what does not run comes first, and waits for nobody" >&2
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
	i=0 rest=''
	for node in $NODES; do
		i=$((i + 1))
		[ "$i" -le "$SHARE" ] || { rest="$rest $node" && continue; }
		renew "$node" "$WEIGHT"
	done
	if paused; then return; fi
	for node in $NODES; do
		if [ "$WEIGHT" = 100 ] || [ "$SHARE" = 0 ]; then break; fi
		give "$node" 100
		SHARE=$((SHARE - 1))
	done
	for node in $(dead_first "$rest"); do
		renew "$node" 100
	done
	ends "$NODES"
}

# dead_first: a node that has died since has nothing to lose, and would keep the others from their turn.
dead_first() { # nodes
	left=
	for node in $1; do
		if ! is_at "$node" new && dead "$node"; then echo "$node"; else left="$left $node"; fi
	done
	echo "$left"
}

# ends looks at what really runs.
ends() { # nodes
	changed=
	for node in $1; do
		at_node live "$node" "$SUM" && at_node check "$node" && continue
		go_on
		note "changed $node"
		changed="$changed $node"
	done
	[ -z "$changed" ] || fail 4 "what was released does not run well at$changed any more:" \
		"continue gives it to them again, rollback is the way back"
	finish complete
}

# finish ends a release: the nodes are free.
finish() { # words
	note "$1"
	free
}

renew() { # node, weight
	go_on
	last "$1"
	case $where in
	new) return ;;
	taken) ;; # what it had before has been kept
	*)
		at_node check "$1"
		was=$?
		[ "$was" = 3 ] || spared "$1" || fail 5 "continue or rollback"
		at_node keep "$1" || { go_on && fail 5 "$1: the old version could not be kept: continue or rollback"; }
		# What has died since its turn did run before the release.
		go_on
		case $where:$was in changed:* | old:* | *:0) ;; *:3) note "dead $1" ;; *) note "unwell $1" ;; esac
		note "taken $1"
		;;
	esac
	if ! leave "$1" empty && ! dead "$1"; then
		give "$1" 100
		note "old $1"
		failed "$1: its traffic could not be taken away; it was not touched: continue or rollback"
	fi
	if ! { change "$1" put && looked "$1"; }; then
		how="failed with the new version"
		[ -z "$interrupted" ] || how="is interrupted in its turn"
		say "$1 $how: the way back"
		revert "$1"
		failed "$1 failed, and $is: continue tries it again, rollback is the way back for all"
	fi
	give "$1" "$2"
	note "new $1"
}

# leave takes its traffic away, where that is not what its stop does.
leave() { # node, maybe empty
	[ "$METHOD" != swap ] && [ -z "$balancer_probes" ] || return 0
	balancer out "$1" && { [ $# = 1 ] || at_node empty "$1"; }
}

# dead: there is no traffic that could be taken away, even if it is the last one in the balancer.
dead() { # node
	at_node check "$1" >/dev/null 2>&1
	[ $? = 3 ]
}

change() { # node, put or restore
	if [ "$METHOD" = swap ]; then
		"$2" "$1" && halted "$1" swap
	else
		halted "$1" stop && "$2" "$1" && at_node start "$1"
	fi
}
looked() { at_node check "$1" && at_node live "$1"; }
put() { at_node put "$1" "$ID" "$SUM" ${LABEL:+"$LABEL"} <"$begun/new"; }
restore() { at_node restore "$1" "$ID"; }

# halted: what a stop had to cut off is lost, but the node is where it is to be.
cut_off=
halted() { # node, stop or swap
	at_node "$2" "$1"
	case $? in
	0) ;;
	8) cut_off="$cut_off $1" && note "something was cut off at $1" ;;
	*) return 1 ;;
	esac
}

give() { # node, weight
	# A swap has taken nothing away, and asking a balancer once more may cost: nginx would be reloaded.
	if [ "$METHOD:$WEIGHT" = swap:100 ] && balancer ready "$1"; then return; fi
	balancer in "$1" "$2" || undone "$1 is well, but its traffic could not be given back: continue or rollback"
}

# revert asks nobody whether the others are well: the new version may be what ails them. It sets is to how the node is.
revert() { # node
	is=''
	if leave "$1" && change "$1" restore; then
		if looked "$1"; then
			give "$1" 100
			is="has its old version back"
		elif noted "unwell $1"; then
			# The balancer need not find it well either.
			[ "$METHOD" = swap ] || [ -n "$balancer_probes" ] || balancer in "$1" 100 || :
			is="is not well, as before"
		fi
	fi
	if [ -z "$is" ] && noted "dead $1" && halted "$1" stop; then is="does not run, as before"; fi
	[ -n "$is" ] || undone "$1 could not be given its old version back: continue or rollback when that is mended"
	note "old $1"
}

# back takes the nodes first that are out of traffic already, and looks at those that have their old version.
back() {
	if [ "$METHOD" = colours ] && [ -z "$live" ] && is_at "$new" new; then
		fail 6 "there was nothing before $new, which stays as it is"
	fi
	noted rollback || note rollback
	if [ "$METHOD" = colours ]; then
		stay
	else
		for word in taken changed old new; do
			for node in $NODES; do
				is_at "$node" $word || continue
				go_on
				if [ $word = old ] && { noted "dead $node" || noted "unwell $node" || at_node check "$node"; }; then continue; fi
				if [ $word = new ] && noted "dead $node"; then
					say "$node did not run before: it keeps the new version"
					give "$node" 100
				else
					revert "$node"
				fi
			done
		done
	fi
	finish "rolled back"
}

status() {
	[ -e "$STATE/journal" ] || {
		say "there has been no release"
		return
	}
	cat "$STATE/journal"
	plan
	for node in $NODES; do
		say "$node: $(at_node show "$node" </dev/null 2>&1)${BALANCER:+; in the balancer: $(balancer status "$node")}"
	done
	if runs; then
		say "a release runs: $by"
		exit 7
	fi
	under_way || return 0
	say "in the middle, and nobody goes on: continue or rollback"
	exit 1
}

for tool in flock cksum; do command -v $tool >/dev/null || fail 6 "needs $tool: install it"; done
dry=
[ "${1-}" != --dry-run ] || { dry=dry && shift; }
verb=${1-}
case $dry$#:$verb in
1:status) status && exit ;;
1:history)
	[ -r "$STATE/history" ] || fail 6 "there is no $STATE/history: set STATE to the folder of the release"
	cat "$STATE/history"
	exit
	;;
2:upgrade | 2:share | 1:continue | 1:rollback | dry2:upgrade | dry2:share) ;;
*) fail 2 "want upgrade FILE, share FILE, continue, rollback, status or history;" \
	"before upgrade and share maybe --dry-run" ;;
esac
lock
case $verb in
upgrade | share) begin "$2" ;;
esac
[ -e "$STATE/journal" ] || free
plan
case $verb in
rollback)
	if noted "rolled back"; then
		free # a kill may have left claims
		say "rolled back already"
		exit
	fi
	;;
*)
	if ! under_way; then
		free
		say "nothing to continue"
		exit
	fi
	;;
esac
for old in "$STATE"/begun/*; do [ "$old" = "$begun" ] || rm -rf "$old"; done
case $verb in
continue | rollback)
	has_yet BALANCER "$BALANCER_then" "$BALANCER"
	if [ "$verb" = continue ] && ! noted rollback; then
		noted passed || has_yet GATE "$GATE_then" "$GATE"
		balancer settings || exit
	fi
	claim
	;;
esac
trap 'ended $?' EXIT
case $verb:$METHOD in
rollback:*) back ;;
*)
	if noted rollback; then
		back
	elif [ "$METHOD" = colours ]; then
		switch
	else
		forward
	fi
	;;
esac
[ -z "$cut_off" ] || fail 8 "done, but a stop had to cut requests off at$cut_off"
