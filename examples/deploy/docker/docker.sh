#!/bin/sh
# docker.sh: a service in a container, whose program lies in a folder of the host, so that it can be swapped.
#
#   start      runs IMAGE, or the container that is there, also one that crashes again and again, and waits until it
#              serves. The first time the program comes from the image
#   swap FILE  puts FILE in the program's place, has the container swap, or start where it does not run, and waits. What
#              fails is taken back
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

# app sets said to the answer of what runs, and by to the program that has asked: that which runs, or, behind an init,
# one that lies there. What lies there may be broken. Where it is not what was just started, that of the image asks.
app() {
	for by in /proc/1/exe /srv/app.before /srv/app; do
		said=$(ask "$@" 2>&1) && return
	done
	[ -z "${launched-}" ] && [ "$(is Status)" = running ] || return
	by=image
	said=$(ask "$@" 2>&1)
}
# ask: DIR/bin lies over the program of the image, which so has a container of its own.
ask() {
	case $by in
	image)
		"$DOCKER" inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$NAME" |
			"$DOCKER" run --rm --network none --log-driver none --env-file /dev/stdin \
				--user "$("$DOCKER" inspect -f '{{.Config.User}}' "$NAME")" \
				--mount "type=bind,source=$DIR/run,target=/run/app" \
				--entrypoint /srv/app "$("$DOCKER" inspect -f '{{.Image}}' "$NAME")" "$@"
		;;
	*) "$DOCKER" exec "$NAME" "$by" "$@" ;;
	esac
}

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

start() {
	ran=$(is Running) launched='' n=0
	until app -s health; do
		n=$((n + 1))
		case $launched:$(is Status) in
		*:running) [ "$n" -le $((START_TIMEOUT * 5)) ] || serves_not ;;
		yes:* | *:paused) serves_not ;;
		*) launched=yes && launch ;;
		esac
		sleep 0.2
	done
}
serves_not() {
	"$DOCKER" logs --tail 10 "$NAME" >&2
	[ "$ran" = true ] || "$DOCKER" stop "$NAME" >/dev/null # else it is left to its restart policy, as before
	fail 1 "$NAME does not serve"
}

launch() {
	# What was to come may never have served.
	[ -n "${coming-}" ] || [ ! -e "$DIR/bin/app.before" ] || mv "$DIR/bin/app.before" "$DIR/bin/app"
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

# app.before is what served when a swap began, and is there until it has ended.
# What does not run, or crashes again and again, has nothing to lose, and is started.
take_over() {
	is="serves on"
	reload
	case $? in
	0) ;;
	2) is="does not serve, as before" && (coming=yes && start) ;;
	*) false ;;
	esac || {
		mv "$DIR/bin/app.before" "$DIR/bin/app"
		return 1
	}
	if [ "$served" != 0 ] || cmp -s "$DIR/bin/app.before" "$DIR/bin/app"; then
		rm "$DIR/bin/app.before" # what crashed, or the same again, is no way back
	else
		mv "$DIR/bin/app.before" "$DIR/bin/app.old"
	fi
}
# reload: "kill -s HUP" neither waits nor says how it ended. Nor does an engine that goes away meanwhile. Nothing runs:
# 2.
# shellcheck disable=SC2154 # field sets value
reload() {
	was=''
	app -s status && field generation "$said" && was=$value && ask -s reload && return
	within 10 told || fail 1 "$NAME does not say what serves: the same again, or start, puts it right"
	[ -n "$said" ] || return 2
	field generation "$said"
	[ "$value" != "$was" ]
}
# told: what serves, or that nothing does. What crashes again and again runs for moments.
told() { app -s status || case $(is Status) in '' | running | paused) return 1 ;; *) said='' ;; esac }

# finish ends what one that was killed has begun.
finish() {
	served=$(is ExitCode) # of one that runs 0
	[ -n "$served" ] || fail 1 "$NAME is not there: start"
	if [ -e "$DIR/bin/app.before" ]; then
		served=0
		take_over || :
	fi
}

swap() { # file
	{ [ -f "$1" ] && [ -r "$1" ]; } || fail 5 "$1 is not there"
	finish
	{ place app.before <"$DIR/bin/app" && place app <"$1"; } || {
		rm -f "$DIR/bin/app.before"
		unwritten 1 "$DIR/bin" "the old program is in its place still"
	}
	take_over || fail 1 "the old program $is, and is in its place again"
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
	app -s health || fail 1 "$said"
	how=$said
	app -s status
	field version "$said"
	echo "version $value, $how"
	"$DOCKER" inspect -f '{{.State.Health.Status}}, {{.RestartCount}} restarts, since {{.State.StartedAt}}' "$NAME"
}

case $#:${1-} in
1:start | 1:stop) alone && "$1" ;;
1:rollback) alone whole && rollback ;;
1:status) answers && status ;;
2:swap) alone whole && swap "$2" && rm -f "$DIR/bin/app.back" ;;
*) fail 2 "want start, swap FILE, rollback, stop or status" ;;
esac
