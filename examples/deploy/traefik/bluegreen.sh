#!/bin/sh
# bluegreen.sh: a new version next to the old one behind Traefik, whose file
# provider is told which of the two gets the traffic.
#
#   deploy FILE  puts FILE in the colour that is not live, starts and checks it,
#                first directly, then through Traefik's preview entry point;
#                has Traefik send all new requests there; and stops the old
#                colour when it has finished its requests
#   rollback     the same the other way, with what that colour has run before
#   status       says which colour is live, and what runs
#
# A run that ended half-way, by kill -9 too, is repaired by the next one. What
# fails before Traefik has switched leaves the live colour as it was.
#
# Exit codes are those of control.sh:
#   0    done
#   1    the new version does not start, or fails its check: it never had traffic
#   2    wrong usage                     5    FILE is not there
#   6    wrong or missing configuration  7    rollback: nothing to go back to
#   150  not done in time: a message says what is left, the next run goes on
#   154  another run is at work
#
# It needs curl, flock, control.sh, and a service with -addr and -control.

: "${SITE:=.}"              # SITE/blue and SITE/green hold app, pid, log, control
: "${ROUTES:=./conf.d/live.yml}" # what Traefik reads; nobody else may write it
: "${BLUE:=http://127.0.0.1:8081}"
: "${GREEN:=http://127.0.0.1:8082}"
: "${PREVIEW:=http://127.0.0.1:8001}" # Traefik's entry point for the standby
: "${API:=http://127.0.0.1:8099}"     # Traefik's API
: "${ARGS:=}"               # the service's flags but -addr, -control, -pidfile
: "${CHECK:=}"              # a command: run twice, with URL the colour's, then PREVIEW's
: "${ROUTE_TIMEOUT:=30}"    # seconds, as all of them; more than providersThrottleDuration
: "${EMPTY_TIMEOUT:=600}"   # your longest request
: "${LOCK_TIMEOUT:=5}"      # how long to wait for another run
: "${CONTROL_SH:=$(dirname "$0")/../control.sh}"

say() { printf '%s\n' "${0##*/}: $*"; }
fail() { # code, message
	code=$1
	shift
	say "$@" >&2
	exit "$code"
}

# within waits until the command says that the matter is decided.
within() { # seconds, command
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -le "$end" ] || return 1
		sleep 0.1 2>/dev/null || sleep 1 # POSIX knows whole seconds only
	done
}

get() { curl -q -s -f -m 2 --noproxy '*' -A bluegreen.sh "$@"; }

url() { # colour
	case $1 in blue) printf '%s' "$BLUE" ;; *) printf '%s' "$GREEN" ;; esac
}
other() { case $1 in blue) echo green ;; *) echo blue ;; esac }

# The lock is for this script and its control.sh, which may outlive it; the
# service must not have it. So a shell between the two keeps it.
control() { # verb, colour
	(
		COLOUR=$2 BIN=$SITE/$2/app PIDFILE=$SITE/$2/pid LOG=$SITE/$2/log CONTROL=$SITE/$2/control URL=$(url "$2")
		ARGS="-addr ${URL#http://} -control $CONTROL${ARGS:+ $ARGS}"
		export COLOUR BIN PIDFILE LOG CONTROL URL ARGS
		"$CONTROL_SH" "$1" 9>&-
		exit $?
	)
}

runs() { # colour
	control status "$1" >/dev/null 2>&1
	case $? in 1 | 3) return 1 ;; esac
}

ask() { get --unix-socket "$SITE/$1/control" http://app/status; }

# empty: no request, and no connection that a handler has taken over, in older
# generations of that colour neither. What has not sent a byte is a spare one of
# Traefik's. HTTP/2 does not say whether it is at rest: the stop sees to that.
empty() { # colour
	json=$(ask "$1" | tr -d ' \n')
	if [ -z "$json" ] && ! runs "$1"; then return 0; fi # it has died
	case $json in
	*'"older":null'* | *'"older":[]'*) ;;
	*) return 1 ;;
	esac
	left=$(printf '%s\n' "$json" | sed -n 's/.*"open":{\([^}]*\)}.*/\1/p' | tr ',' '\n' |
		grep -E '^"(active|hijacked|other)":' | tr '\n' ' ')
	case $left in
	'') return 1 ;;
	*:[1-9]*) return 1 ;;
	esac
}

# find_live sets live to the colour that ROUTES sends clients to, empty before the
# first deploy.
find_live() {
	live=
	[ -e "$ROUTES" ] || return 0
	live=$(sed -n 's/^ *app:.*name: *\([a-z]*\).*/\1/p' "$ROUTES")
	case $live in
	blue | green) ;;
	*) fail 6 "$ROUTES does not say which colour is live: it is written by this script alone; put it back, or remove it before a first deploy" ;;
	esac
}

# target is what Traefik says of a service that it has in use.
target() {
	get "$API/api/http/services/$1@file" | sed -n 's/.*"weighted":{"services":\[{"name":"\([a-z]*\).*/\1/p'
}
routed() { [ "$(target app)" = "$1" ] && [ "$(target standby)" = "$2" ]; }

# route writes by rename: Traefik reads the old file or the new one. The name
# in between has an ending that it does not read.
route() { # live, standby
	{ {
		echo '# Written by bluegreen.sh, which takes it for the truth about which colour is live.'
		echo 'http:'
		echo '  services:'
		[ -z "$1" ] || echo "    app: {weighted: {services: [{name: $1, weight: 1}]}}"
		echo "    standby: {weighted: {services: [{name: $2, weight: 1}]}}"
	} >"$ROUTES.new" && mv "$ROUTES.new" "$ROUTES"; } ||
		fail 6 "cannot write $ROUTES: set ROUTES to a file in the folder of Traefik's file provider"
	within "$ROUTE_TIMEOUT" routed "$1" "$2"
}

# retire stops a colour that gets no traffic any more.
retire() { # colour
	say "$1: waiting until it has finished its requests"
	within "$EMPTY_TIMEOUT" empty "$1" ||
		fail 150 "$1 still has requests in flight after $EMPTY_TIMEOUT s (${left:-its control socket does not answer}):" \
			"it gets no new ones; the next run goes on waiting, $CONTROL_SH stop would end them after -drain-timeout"
	control stop "$1" || exit
}

# abandon: the new colour has failed before it was live.
abandon() { # message
	say "$1" >&2
	if runs "$new"; then retire "$new"; fi
	settle || say "$API does not say that it is back to ${live:-nothing}: see Traefik's log" >&2
	fail 1 "given up: ${live:-nothing} is live, as before"
}

settle() {
	if [ -n "$live" ]; then route "$live" "$live"; else rm -f "$ROUTES"; fi
}

check() { # URL
	[ -z "$CHECK" ] || URL=$1 COLOUR=$new sh -c "$CHECK" 9>&-
}

# /livez and not /ping, because who asks that once is a prober that a stop
# would wait for.
previewed() { get -o /dev/null "$PREVIEW/livez"; }

# prepare ends what an earlier run has left.
prepare() {
	for tool in curl flock; do
		command -v "$tool" >/dev/null || fail 6 "needs $tool: install it"
	done
	[ -x "$CONTROL_SH" ] || fail 6 "$CONTROL_SH is not there: set CONTROL_SH to control.sh"
	for colour in blue green; do
		mkdir -p "$SITE/$colour" || fail 6 "cannot make $SITE/$colour: set SITE to a folder of your own"
	done
	SITE=$(cd "$SITE" && pwd)
	exec 9>"$SITE/lock" || fail 6 "cannot write $SITE/lock: run this as the user of the service"
	within "$LOCK_TIMEOUT" flock -n 9 || fail 154 "another run, or what a killed one has started, is at work: try again when it is over"
	get -o /dev/null "$API/api/version" || fail 6 "Traefik does not answer at $API: start it, or set API to its API"
	find_live
	new=$(other "${live:-green}")
}

# free makes sure that the colour to come gets no traffic and does not run.
free() {
	standby=$live
	# On standby it is probed, and so a stop is soon noticed.
	if runs "$new"; then standby=$new; fi
	if [ -n "$standby" ]; then
		route "$live" "$standby" || fail 150 "$API does not say that it routes to ${live:-nobody} after $ROUTE_TIMEOUT s:" \
			"see Traefik's log, and that its file provider reads the folder of $ROUTES"
	fi
	if [ "$standby" = "$new" ]; then retire "$new"; fi
	if [ -n "$live" ]; then rm -f "$SITE/$live/unproven"; fi
}

publish() {
	control start "$new" || abandon "$new: the new version does not start"
	check "$(url "$new")" || abandon "$new: the new version fails its check"
	# Traefik reaches it, too, before anybody depends on that.
	{ route "$live" "$new" && within "$ROUTE_TIMEOUT" previewed; } ||
		abandon "$new is not reached through Traefik at $PREVIEW: see Traefik's log"
	check "$PREVIEW" || abandon "$new: the new version fails its check through Traefik"

	if ! route "$new" "${live:-$new}"; then
		# It may have switched since: nothing is stopped before it says who is live.
		settle || fail 150 "$API says neither that it routes to $new nor that it routes to $live:" \
			"both run; see Traefik's log, and run this again"
		abandon "$API does not say that it routes to $new after $ROUTE_TIMEOUT s"
	fi
	rm -f "$SITE/$new/unproven"
	say "$new is live"
	if [ -n "$live" ]; then
		retire "$live"
		route "$new" "$new" || say "$API does not say that $live is no standby any more: see Traefik's log" >&2
	fi
}

deploy() { # file
	[ -f "$1" ] || fail 5 "$1 is no file: name the new version's program"
	prepare
	free
	# Until it has been live it is nothing to roll back to.
	: >"$SITE/$new/unproven"
	{ cp "$1" "$SITE/$new/app.new" && mv "$SITE/$new/app.new" "$SITE/$new/app"; } || fail 6 "cannot write $SITE/$new/app"
	publish
}

rollback() {
	prepare
	{ [ -n "$live" ] && [ -e "$SITE/$new/app" ]; } || fail 7 "$new has run nothing yet: there is nothing to go back to"
	if [ -e "$SITE/$new/unproven" ]; then
		free
		settle
		fail 7 "$new has a version that was never live: ${live} serves what it served before, and stays"
	fi
	# Who rolls back while the old colour still finishes its requests is in a hurry.
	case $(ask "$new") in
	*'"phase":"ready"'*) ;;
	*) free ;;
	esac
	publish
}

status() {
	find_live
	say "live: ${live:-none}; Traefik sends clients to ${live:+$(target app)}"
	for colour in blue green; do
		control status "$colour" 2>&1 | sed "s/^[^:]*:/  $colour:/"
	done
}

case $#:${1-} in
2:deploy) deploy "$2" ;;
1:rollback | 1:status) "$1" ;;
*) fail 2 "want deploy FILE, rollback, or status" ;;
esac
