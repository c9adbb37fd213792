#!/bin/sh
# swarm.sh: a service of Docker Swarm, updated one task after the other.
#
#   deploy IMAGE   the stack of stack.yaml, and waits until it runs
#   update IMAGE   waits until each task runs IMAGE, or Swarm has rolled back
#   rollback       to what ran before the last update
#   status         what runs
#
# Exit codes: 0 done, 1 it failed, and what ran before runs; 2 wrong usage, 3 status: not every task runs,
# 4 not done in time, or the way back failed, too, and which nodes are down; 6 wrong settings; 7 another update is under
# way, or came in between.
#
# A tag is one image for ever. An update to the one that is there does nothing: Swarm would take it for what a
# rollback leads to.

: "${STACK:=web}"
: "${SERVICE:=${STACK}_app}"
: "${UPDATE_ARGS:=--with-registry-auth}" # without a registry: --no-resolve-image
: "${TIMEOUT:=600}" # seconds, for all tasks: each may take start_period, delay, monitor and stop_grace_period
: "${DOCKER:=docker}"

here=${0%/*}
[ "$here" != "$0" ] || here=.
[ -e "$here/common.sh" ] || here=$here/.. # it needs that, beside it or a folder above
# shellcheck source=/dev/null
. "$here/common.sh"
right_numbers "$0"

# is_of: with the digest that the registry has for the tag, or without.
is_of() { case $1 in "$2" | "$2"@*) ;; *) return 1 ;; esac; } # image of a service, image
image() { "$DOCKER" service inspect -f '{{.Spec.TaskTemplate.ContainerSpec.Image}}' "$SERVICE"; }
tasks() { # desired state, format, maybe --no-resolve for IDs
	"$DOCKER" service ps --no-trunc ${3:+"$3"} --filter "desired-state=$1" --format "$2" "$SERVICE"
}
lost() { "$DOCKER" node ls --format "{{.Status}} $1" | sed -n 's/^Down //p'; } # format, for each node that is down
undone() { # message
	fail 4 "$1: see docker service ps $SERVICE$(
		lost "; node {{.Hostname}} is down: start it, or docker node rm --force {{.ID}}")"
}

# why: how the newest task of an image has ended by itself, or for its health, and its last lines.
why() { # image
	ended=$(tasks shutdown '{{.ID}} {{.Image}} {{.CurrentState}} {{.Error}}' | grep -F -e " $1 " -e " $1@" |
		grep -m 1 -E ' (Failed|Rejected|Complete) ')
	[ -n "$ended" ] || return 0
	case $ended in
	*' Complete '*) echo "swarm.sh: a task of $1 was not healthy, and so was told to stop" >&2 ;;
	*) echo "swarm.sh: a task of ${ended#* }" >&2 ;;
	esac
	"$DOCKER" service logs --raw --tail 10 "${ended%% *}" >&2
}

# runs: each task that is wanted runs the image. The exit code of docker service update does not tell.
runs() { # image
	want=$("$DOCKER" service inspect -f '{{.Spec.Mode.Replicated.Replicas}}' "$SERVICE")
	[ "$(tasks running '{{.Image}} {{.CurrentState}}' | grep -c -F "$1 Running")" = "$want" ]
}

state() { "$DOCKER" service inspect -f '{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}' "$SERVICE" 2>/dev/null; }

alone() {
	answers
	case $(state) in updating | rollback_started) fail 7 "another update is under way: see swarm.sh status" ;; esac
}

# order has Swarm change the service. Two that begin at once both find nothing under way: Swarm refuses one, or the
# later one wins, which ended and rollback see.
order() { # arguments of docker
	said=$("$DOCKER" "$@" 2>&1 >/dev/null)
	code=$?
	case $code:$said in 0:*) ;; *'out of sequence'*) fail 7 "another update came in between" ;; esac
	[ -z "$said" ] || printf '%s\n' "$said" >&2
	return "$code"
}

# is_settled: Swarm says that the update has ended, or, a second later still, that there is none; and what was told to
# stop has stopped. Of a node that is down nothing more is heard.
is_settled() {
	case $(state) in
	completed | rollback_completed | paused | rollback_paused) ;;
	'') [ "$n" -gt 0 ] && runs "$(image)" || return ;;
	*) return 1 ;;
	esac
	down=$(lost '{{.ID}}')
	! tasks shutdown '{{.Node}} {{.CurrentState}}' --no-resolve | grep ' Running ' | grep -q -v -F "${down:-no node}"
}

settle() {
	n=0
	until is_settled; do
		[ "$n" -lt "$TIMEOUT" ] || { why "$(image)"; undone "Swarm is not done after $TIMEOUT s"; }
		sleep 1
		n=$((n + 1))
	done
}

deploy() {
	export IMAGE="$1"
	order stack deploy --with-registry-auth -c "$(dirname "$0")/stack.yaml" "$STACK" || exit 1
	settle
	ended "$1"
}

update() {
	now=$(image) || exit 1
	if is_of "$now" "$1"; then
		settle
		all_run
		return
	fi
	# shellcheck disable=SC2086 # several
	order service update -q --detach --image "$1" $UPDATE_ARGS "$SERVICE" || exit 1
	settle
	ended "$1"
}

# ended: of settings that fail the image may be the one that runs.
ended() { # image
	now=$(image)
	case $(state) in
	rollback_*)
		why "$1"
		runs "$now" || undone "$1 fails, and not each task runs $now"
		fail 1 "$1 fails: $now runs, as before"
		;;
	esac
	still "$1"
}
still() { # image
	is_of "$now" "$1" || fail 7 "$now is wanted now: another update came in between"
	all_run
}
all_run() { runs "$now" || { why "$now"; undone "not each task runs $now"; }; }

rollback() {
	before=$("$DOCKER" service inspect -f '{{with .PreviousSpec}}{{.TaskTemplate.ContainerSpec.Image}}{{end}}' \
		"$SERVICE") || exit 1
	order service update -q --detach --rollback "$SERVICE" ||
		fail 1 "Swarm keeps one version, and drops it when it goes back by itself: update to the image you want"
	settle
	now=$(image)
	still "$before"
	say "$now runs" # a deploy that has changed nothing leads to no other
}

status() {
	answers
	"$DOCKER" service ls --filter "name=$SERVICE" --format '{{.Name}} {{.Image}} {{.Replicas}}'
	tasks running '{{.Name}} {{.Image}} {{.CurrentState}}'
	runs "$(image)" || exit 3
}

case $#:${1-} in
2:deploy | 2:update)
	case ${2##*/} in *[:@]*) ;; *) fail 2 "$2 has no tag: want one for each image" ;; esac
	alone && "$1" "$2"
	;;
1:rollback) alone && rollback ;;
1:status) status ;;
*) fail 2 "want deploy IMAGE, update IMAGE, rollback or status" ;;
esac
