#!/bin/sh
# deploy.sh: what a pipeline calls to bring dist/app into an environment. When
# that fails, the environment is left as it was, and the pipeline is red.
#
#   deploy.sh ENV           env/ENV.env says how, where, and the service's settings
#   deploy.sh ENV rollback  back to what was there before the last deploy
#
# Exit codes:
#   0  done
#   1  failed, and the environment has its old version and settings back
#   2  wrong usage
#   4  failed, and so did a step on the way back: see what it says, mend that, and
#      run the same again; it begins with the rest of the way back
#   5  a node was not well before anything was touched
#   6  wrong or missing configuration
#   7  a deploy into this environment runs
#
# The same goes after a crash or a kill -9: the next run begins with the way back.
# It needs flock (util-linux, busybox).

cd "$(dirname "$0")" || exit 6
: "${ENVS:=env}"         # the folder of the environments
: "${TOOLS:=../gray}"    # the folder of release.sh and node.sh
: "${DIST:=dist}"        # what build.sh has made
: "${STEP_TIMEOUT:=180}" # seconds to wait for the last step of a deploy that was killed

say() { printf '%s\n' "deploy.sh: $*"; }
fail() { # code, message
	code=$1
	shift
	say "$@" >&2
	exit "$code"
}

at_node() {
	# shellcheck disable=SC2086 # a command and its arguments
	if [ -n "${AT_NODE:-}" ]; then $AT_NODE "$@"; else sh "$TOOLS/node.sh" "$@"; fi
}

# METHOD=gray: out of the balancer, stopped, replaced; some nodes first. release.sh
# goes back by itself where it can.

gray_deploy() {
	release status >/dev/null || gray_back
	release upgrade "$DIST/app" && return
	code=$?
	if release status >/dev/null; then
		case $code in
		5) fail 5 "nothing was touched" ;;
		[267]) exit "$code" ;;
		*) fail 1 "failed, and rolled back" ;;
		esac
	fi
	gray_back
	fail 1 "failed, and rolled back"
}
gray_rollback() { gray_back; }
gray_back() {
	release rollback && return
	[ $? != 7 ] || exit 7
	fail 4 "the way back failed: mend that and run this again"
}
release() { sh "$TOOLS/release.sh" "$@"; }

# METHOD=swap: in place, under the clients; no balancer is needed. UNDER_WAY is
# there from the first change until GATE has passed, or all is back.

swap_deploy() {
	lock
	[ ! -e "$under_way" ] || swap_back
	for node in $NODES; do
		at_node check "$node" || fail 5 "$node is not well: nothing was touched"
	done
	for node in $NODES; do
		at_node keep "$node" || fail 5 "$node: the old version could not be kept: nothing was touched"
	done
	: >"$under_way" || fail 6 "cannot write $under_way: nothing was touched"
	for node in $NODES; do
		at_node put "$node" "$DIST/app" && at_node swap "$node" && at_node check "$node" && say "$node has $VERSION" && continue
		say "$node failed: the way back"
		swap_back
		fail 1 "failed, and rolled back"
	done
	# shellcheck disable=SC2086
	if [ -n "$GATE" ] && ! $GATE 9>&-; then
		say "\"$GATE\" failed: the way back"
		swap_back
		fail 1 "failed, and rolled back"
	fi
	rm -f "$under_way"
}
swap_rollback() {
	lock
	swap_back
}
swap_back() {
	for node in $NODES; do
		{ at_node restore "$node" && at_node swap "$node" && at_node check "$node"; } ||
			fail 4 "$node could not be given its old version back: mend that and run this again"
		say "$node has its old version"
	done
	rm -f "$under_way"
}
lock() {
	command -v flock >/dev/null || fail 6 "needs flock: install util-linux"
	under_way=$STATE/under-way
	{ mkdir -p "$STATE" && : >>"$STATE/lock"; } 2>/dev/null || fail 6 "cannot write to $STATE: set STATE to a folder that you may write"
	exec 9>>"$STATE/lock"
	if ! flock -n 9; then
		say "another deploy runs, or the last step of one that was killed: waiting for it"
		flock -w "$STEP_TIMEOUT" 9 || fail 7 "it is not over after $STEP_TIMEOUT s"
	fi
}

SETTINGS=$ENVS/${1-}.env
case $#:${2-deploy} in
1:deploy | 2:rollback) ;;
*) fail 2 "want an environment, and then rollback or nothing" ;;
esac
[ -r "$SETTINGS" ] || fail 2 "$SETTINGS cannot be read: want the name of an environment, one of $ENVS"
unset METHOD NODES STATE
set -a
# shellcheck disable=SC1090
case $SETTINGS in /*) . "$SETTINGS" ;; *) . "./$SETTINGS" ;; esac
set +a
: "${NODES:?is not set in $SETTINGS}" "${STATE:?is not set in $SETTINGS}" "${GATE:=}"
[ "${2-}" = rollback ] || [ -x "$DIST/app" ] || fail 6 "$DIST/app is no executable file: run build.sh first"
VERSION=
{ read -r VERSION <"$DIST/version"; } 2>/dev/null
export VERSION SETTINGS

case ${METHOD-} in
gray | swap) "${METHOD}_${2-deploy}" ;;
*) fail 6 "METHOD is \"${METHOD-}\" in $SETTINGS: want gray or swap" ;;
esac
say "${1}: done"
