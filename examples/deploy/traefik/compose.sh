#!/bin/sh
# compose.sh: in control.sh's place for bluegreen.sh, where the colours are
# containers of compose.yaml. What bluegreen.sh deploys is then a file with the
# line IMAGE=registry/app:v2. Bluegreen.sh sets COLOUR and BIN, that file.
#
#   start   pulls and starts the container, and waits until it answers
#   stop    TERM, and KILL after stop_grace_period; waits until it is gone
#   status  0 it runs, 3 it does not
#
# Exit codes: 0 done, 1 it failed, 2 wrong usage, 5 no image is named.

: "${COLOUR:?is set by bluegreen.sh: call that}"
: "${BIN:?is set by bluegreen.sh: call that}"
: "${DOCKER:=docker}"
: "${START_TIMEOUT:=120}" # seconds

compose() { "$DOCKER" compose -f "$(dirname "$0")/compose.yaml" "$@"; }

SITE=$(dirname "$(dirname "$BIN")")
IMAGE=$(sed -n 's/^IMAGE=//p' "$BIN" 2>/dev/null)
export SITE
if [ -n "$IMAGE" ]; then export IMAGE; fi

start() {
	if [ -z "$IMAGE" ]; then
		echo "compose.sh: $BIN has no line IMAGE=registry/app:tag" >&2
		exit 5
	fi
	if compose up -d --no-deps --wait --wait-timeout "$START_TIMEOUT" "$COLOUR"; then return; fi
	compose logs --no-log-prefix --tail 10 "$COLOUR" >&2
	compose stop "$COLOUR"
	exit 1
}

stop() { compose stop "$COLOUR" || exit 1; }

status() { [ -n "$(compose ps --quiet --status running "$COLOUR")" ] || exit 3; }

case $#:${1-} in
1:start | 1:stop | 1:status) "$1" ;;
*) echo "compose.sh: want start, stop or status" >&2 && exit 2 ;;
esac
