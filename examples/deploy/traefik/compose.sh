#!/bin/sh
# compose.sh: in control.sh's place for node.sh, where the colours are containers of
# compose.yaml. What is released is then a file with the line IMAGE=registry/app:v2.
# Node.sh sets NODE and BIN, that file.
#
#   start   pulls and starts the container, and waits until it answers
#   stop    TERM, and KILL after stop_grace_period; waits until it is gone
#   status  whether it runs
#
# Exit codes: 0 done, 1 it failed, 2 wrong usage, 3 status: it does not run, 4 status: the engine
# does not say, 5 no image is named, 6 wrong settings, 155 stop: done, but requests were cut off, or it had an error.

: "${DOCKER:=docker}"
: "${START_TIMEOUT:=120}" # seconds

here=${0%/*}
[ "$here" != "$0" ] || here=.
[ -e "$here/common.sh" ] || here=$here/.. # it needs that, beside it or a folder above
# shellcheck source=/dev/null
. "$here/common.sh"
right_numbers "$0"
{ [ -n "${NODE-}" ] && [ -n "${BIN-}" ]; } || fail 6 "NODE and BIN are node.sh's to set: call release.sh"

compose() { "$DOCKER" compose -f "$(dirname "$0")/compose.yaml" "$@"; }

FOLDER=$(dirname "$(dirname "$BIN")")
IMAGE=$(sed -n 's/^IMAGE=//p' "$BIN" 2>/dev/null)
export FOLDER
if [ -n "$IMAGE" ]; then export IMAGE; fi

start() {
	[ -n "$IMAGE" ] || fail 5 "$BIN has no line IMAGE=registry/app:tag"
	if compose up -d --no-deps --wait --wait-timeout "$START_TIMEOUT" "$NODE"; then return; fi
	compose logs --no-log-prefix --tail 10 "$NODE" >&2
	compose stop "$NODE"
	exit 1
}

stop() {
	ran=yes
	(status) || ran=''
	compose stop "$NODE" || exit 1
	[ -z "$ran" ] || ended_well "$(compose ps -aq "$NODE")"
}

status() {
	running=$(compose ps --services --filter status=running) || exit 4
	listed "$running" "$NODE" || exit 3
}

case $#:${1-} in
1:start | 1:stop | 1:status) "$1" ;;
*) fail 2 "want start, stop or status" ;;
esac
