#!/bin/sh
# docker.sh: a service in a container, whose program lies in a folder of the host, so that it can be swapped.
#
#   start      runs IMAGE, or the container that is there, also one that crashes again and again, and waits until it
#              serves. The first time the program comes from the image
#   swap FILE  puts FILE in the program's place, has the container swap, and waits. What fails is taken back
#   rollback   swaps to the program that served before
#   stop       waits until the requests are finished
#   status     says what runs: version, phase and generation, restarts, health
#
# Exit codes: 0 done, 1 it failed, 2 wrong usage, 3 status: it does not run, 5 FILE or IMAGE is not there,
# 6 wrong settings, 7 another docker.sh is at work, 155 stop: done, but requests were cut off, or it had an error.
#
# A swap that has begun ends, whatever signal comes. After a kill -9 the next run of swap or start puts things right.
# It needs flock (util-linux) and cmp (diffutils).

: "${NAME:=app}"           # of the container
: "${IMAGE:=app}"          # see Dockerfile
: "${DIR:=/srv/$NAME}"     # DIR/bin is /srv there, and DIR/run is /run/app
: "${STOP_TIMEOUT:=75}"    # more than -pull-max and -drain-timeout
: "${START_TIMEOUT:=60}"   # seconds
: "${RUN_ARGS:=-p 8080:8080 --restart unless-stopped}" # of docker run, split at blanks
: "${DOCKER:=docker}"

here=${0%/*}
[ "$here" != "$0" ] || here=.
[ -e "$here/common.sh" ] || here=$here/.. # it needs that, beside it or a folder above
# shellcheck source=/dev/null
. "$here/common.sh"
right_numbers "$0"
case $DIR in /*) ;; *) DIR=$PWD/$DIR ;; esac # docker takes another one for a volume's name

is() { "$DOCKER" container inspect -f "{{.State.$1}}" "$NAME" 2>/dev/null; }
app() { "$DOCKER" exec "$NAME" /srv/app "$@"; }

# place puts its input in a program's place: by rename, as one that runs can't be written to.
place() { # name
	written "$DIR/bin/$1" cat && chmod 755 "$DIR/bin/$1"
}

alone() { # maybe whole: no signal is to end it in the middle
	answers
	{ mkdir -p "$DIR/bin" "$DIR/run" && appendable "$DIR/lock" && exec 9>>"$DIR/lock"; } || unwritten 6 "$DIR"
	flock -n 9 || fail 7 "another docker.sh is at work on $NAME"
	[ $# = 0 ] || trap '' HUP INT TERM
	rm -f "$DIR"/bin/app*.new.* # of one that was killed
}

# start leaves what fails to its restart policy where that has it in hand already.
start() {
	ran=$(is Status) launched='' n=0
	until app -s health >/dev/null 2>&1; do
		n=$((n + 1))
		if [ "$(is Status)" != running ] && [ -z "$launched" ]; then
			launched=yes && launch
		elif [ "$n" -gt $((START_TIMEOUT * 5)) ] || [ "$(is Status)" != running ]; then
			"$DOCKER" logs --tail 10 "$NAME" >&2
			case $ran in running | restarting) ;; *) "$DOCKER" stop "$NAME" >/dev/null ;; esac
			fail 1 "$NAME does not serve"
		fi
		sleep 0.2
	done
}

launch() {
	[ ! -e "$DIR/bin/app.before" ] || mv "$DIR/bin/app.before" "$DIR/bin/app" # what was to come may never have served
	if [ -n "$(is Status)" ]; then
		"$DOCKER" restart "$NAME" >/dev/null || exit 1 # also of one that the engine is about to start again
		return
	fi
	id=$("$DOCKER" create "$IMAGE") || fail 5 "$IMAGE is not there: docker build -t $IMAGE ."
	[ -e "$DIR/bin/app" ] ||
		{ "$DOCKER" cp "$id:/srv/app" "$DIR/bin/app.new" && mv "$DIR/bin/app.new" "$DIR/bin/app"; }
	code=$?
	"$DOCKER" rm "$id" >/dev/null
	[ "$code" = 0 ] || { rm -f "$DIR/bin/app.new" && unwritten 1 "$DIR/bin/app" "or see that $IMAGE has /srv/app"; }
	# shellcheck disable=SC2086 # several
	"$DOCKER" run -d --name "$NAME" --stop-timeout "$STOP_TIMEOUT" -v "$DIR/bin:/srv:ro" -v "$DIR/run:/run/app" \
		$RUN_ARGS "$IMAGE" >/dev/null || {
		"$DOCKER" rm "$NAME" >/dev/null 2>&1 # other RUN_ARGS would not change it
		exit 1
	}
}

# app.before is what served when a swap began, and is there until it has ended. It also asks for the swap: a broken
# program can't, and "kill -s HUP" neither waits nor says how it ended. Nor does an engine that goes away meanwhile.
take_over() {
	was=$(generation)
	if ! "$DOCKER" exec "$NAME" /srv/app.before -s reload; then
		now=$(generation)
		[ -n "$now" ] || fail 1 "$NAME does not say what serves: the same again, or start, puts it right"
		if [ "$now" = "$was" ]; then
			mv "$DIR/bin/app.before" "$DIR/bin/app"
			return 1
		fi
	fi
	if cmp -s "$DIR/bin/app.before" "$DIR/bin/app"; then
		rm "$DIR/bin/app.before" # the same again is no way back
	else
		mv "$DIR/bin/app.before" "$DIR/bin/app.old"
	fi
}
generation() { field generation "$("$DOCKER" exec "$NAME" /srv/app.before -s status)"; }

# finish ends what one that was killed has begun.
finish() {
	[ "$(is Running)" = true ] || fail 1 "$NAME does not run: start"
	[ ! -e "$DIR/bin/app.before" ] || take_over || :
}

swap() { # file
	{ [ -f "$1" ] && [ -r "$1" ]; } || fail 5 "$1 is not there"
	finish
	{ place app.before <"$DIR/bin/app" && place app <"$1"; } || {
		rm -f "$DIR/bin/app.before"
		unwritten 1 "$DIR/bin" "the old program serves on"
	}
	take_over || fail 1 "the old program serves on, and is in its place again"
}

# app.back is there until a rollback has ended: a swap leaves what it replaces as app.old.
rollback() {
	[ -r "$DIR/bin/app.back" ] || {
		finish
		[ -r "$DIR/bin/app.old" ] || fail 5 "no program is known that served before"
		mv "$DIR/bin/app.old" "$DIR/bin/app.back"
	}
	swap "$DIR/bin/app.back"
	rm -f "$DIR/bin/app.old" "$DIR/bin/app.back"
}

stop() {
	[ "$(is Running)" = true ] || return 0
	"$DOCKER" stop "$NAME" >/dev/null || exit 1
	ended_well "$NAME"
}

status() {
	[ "$(is Running)" = true ] || fail 3 "$NAME does not run"
	said=$(app -s health) || exit 1
	echo "version $(app -s status | sed -n 's/.*"version": *"\([^"]*\)".*/\1/p'), $said"
	"$DOCKER" inspect -f '{{.State.Health.Status}}, {{.RestartCount}} restarts, since {{.State.StartedAt}}' "$NAME"
}

case $#:${1-} in
1:start | 1:stop) alone && "$1" ;;
1:rollback) alone whole && rollback ;;
1:status) answers && status ;;
2:swap) alone whole && swap "$2" && rm -f "$DIR/bin/app.back" ;;
*) fail 2 "want start, swap FILE, rollback, stop or status" ;;
esac
