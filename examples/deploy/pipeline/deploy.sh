#!/bin/sh
# deploy.sh: what a pipeline calls to bring dist/app into an environment. When
# that fails, the environment is left as it was, and the pipeline is red.
#
#   deploy.sh ENV           env/ENV.env says how, where, and the service's settings
#   deploy.sh ENV rollback  back to what was there before the last deploy
#
# Exit codes:
#   0  done. Where a stop had to cut requests off, it says so
#   1  failed, and the environment has its old version and settings back
#   2  wrong usage
#   4  failed, and so did a step on the way back: see what it says, mend that, and
#      run the same again; it begins with the rest of the way back
#   5  a node was not well before anything was touched
#   6  wrong or missing configuration
#   7  a deploy into this environment runs
#   9  interrupted before anything was touched
#
# The same goes after a crash or a kill -9: the next run begins with the way back.

cd "$(dirname "$0")" || exit 6
: "${ENVS:=env}"         # the folder of the environments
: "${TOOLS:=..}"         # the folder of release.sh and what belongs to it
: "${DIST:=dist}"        # what build.sh has made

# shellcheck source=/dev/null
. "$TOOLS/common.sh"

release() { sh "$TOOLS/release.sh" "$@"; }

# back ends well, or with release.sh's word on why not.
back() {
	release rollback
	code=$?
	case $code in
	0 | 8) return ;;
	[67]) exit "$code" ;;
	*) fail 4 "the way back failed: mend that and run this again" ;;
	esac
}

deploy() {
	release status >/dev/null
	case $? in
	0) ;;
	7) fail 7 "a deploy runs: release.sh status says whose" ;;
	*) back ;;
	esac
	release upgrade "$DIST/app"
	code=$?
	case $code in
	0 | 8) return ;;
	[267]) exit "$code" ;; # what is under way now is another's
	3) fail 1 "failed, and rolled back" ;;
	esac
	if release status >/dev/null; then
		case $code in 5 | 9) fail "$code" "nothing was touched" ;; esac
		fail 4 "release.sh has ended with $code, and no release is under way:" \
			"see what runs (release.sh status), and run this again"
	fi
	back
	fail 1 "failed, and rolled back"
}

SETTINGS=$ENVS/${1-}.env
case $#:${2-deploy} in
1:deploy | 2:rollback) ;;
*) fail 2 "want an environment, and then rollback or nothing" ;;
esac
[ -r "$SETTINGS" ] || fail 2 "$SETTINGS cannot be read: want the name of an environment, one of $ENVS"
unset METHOD NODES STATE
settings "$SETTINGS"
declared "$TOOLS"/*.sh "$TOOLS"/*/*.sh ./*.sh
known "$SETTINGS"
for name in NODES STATE; do
	eval "[ -n \"\${$name-}\" ]" || fail 6 "$SETTINGS does not set $name"
done
[ "${2-}" = rollback ] || [ -x "$DIST/app" ] || fail 6 "$DIST/app is no executable file: run build.sh first"
VERSION=
{ read -r VERSION <"$DIST/version"; } 2>/dev/null
export VERSION SETTINGS

case ${2-deploy} in
deploy) deploy ;;
rollback) back ;;
esac
say "${1}: done"
