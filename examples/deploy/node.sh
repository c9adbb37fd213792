#!/bin/sh
# node.sh: what release.sh asks of a node, node.sh VERB NODE, for nodes of this machine; by ON=ssh it is
# another one, which has its own node.sh. SITE/NODE has the node's settings for control.sh, as lines
# BIN=…, CONTROL=…, and so on.
#
#   claim KEY [WHO]    the node is that release's until it is free; exit code 7: it is another's
#   claimable KEY      claim would do; changes nothing
#   free KEY           it is no more
#   check [URL]        it is ready, and CHECK says so: asked directly, or at URL. Exit code 3: it does not
#                      run, 6: wrong settings
#   show               its version, pid, generation, phase and release; changes nothing
#   tell [SUM]         the same and more for a program, as lines NAME=value; whether has SUM; changes nothing
#   note WORDS         writes them into the journal
#   keep               sees to it that what runs now can be gone back to
#   empty              waits until no request is in flight there, in older generations neither
#   stop               control.sh's. Exit code 8: it is gone, but had to cut something off
#   put [ID SUM [LABEL]]  its input is the new release. What is not of that sum changes nothing
#   has SUM            it runs a release of that sum already, with these settings, and is well
#   restore [ID]       links what was live and well before the release ID
#   start              control.sh's
#   swap               control.sh's
#   live [SUM]         what runs is what BIN links to, and of that sum: it was live and well from now on
#
# A release is a folder, BIN.releases/N-LABEL, with the program and the settings that it was released with. BIN is a
# link into one of them, flipped by rename. Beside them: live, which of them were live and well, the last one at the
# end; journal; claim; lock, which lets one step change the node at a time. The last KEEP of them are kept, and those
# that there is a way back to.
#
# With -s before VERB, settings come first on its input, up to an empty line. Release.sh does that with ON.
#
# CONTROL_SH is control.sh, or a script of yours that starts, stops and swaps by the same verbs, and has a status.
#
# It needs curl, cmp (diffutils), flock (util-linux), and for check and empty the service's control socket.
#
# Settings are lines NAME=value: see settings in common.sh. SETTINGS is a file whose lines APP_NAME=value are for the
# service's environment, and part of the release; what SITE/NODE sets counts more.
# shellcheck disable=SC2154 # what the scripts that it sources set

: "${SITE:=./site}"        # a folder with a file for each node
: "${SETTINGS:=}"          # a file, as above
: "${CHECK:=}"             # a command that asks the node at $URL; $NODE is its name
: "${EMPTY_TIMEOUT:=60}"   # seconds: your longest request
: "${STEP_TIMEOUT:=180}"   # seconds to wait for another step at this node
: "${KEEP:=5}"             # releases
: "${URL:=}"               # of the service, for CHECK

here=${0%/*}
[ "$here" != "$0" ] || here=.
: "${CONTROL_SH:=$here/control.sh}"
# shellcheck source=/dev/null
. "$here/common.sh"
# shellcheck source=/dev/null
. "$here/releases.sh"

trap '' HUP # a connection that is lost ends no step

# What starts a service must not pass a lock on to it. What a stop had to cut off, or to kill, is gone.
control() {
	sh "$CONTROL_SH" "$1" 8>&- 9>&-
	code=$?
	case $code in 155 | 151) exit 8 ;; esac
	return "$code"
}

ask() { said=$(curl -q -s -f -m 10 --unix-socket "$CONTROL" http://app/status); }

check() { # maybe a URL
	if [ -z "$said" ] && ! ask; then
		why=$(control status 2>&1)
		case $? in 1 | 3) fail 3 "$NODE is not running" ;; esac
		fail 1 "$NODE does not answer at $CONTROL: $why"
	fi
	field phase "$said"
	[ "$value" = ready ] || fail 1 "$NODE is not ready: $value"
	# shellcheck disable=SC2086 # a command and its arguments
	[ -z "$CHECK" ] || URL=${1:-$URL} $CHECK || fail 1 "$NODE: \"$CHECK\" failed"
}

show() {
	ask || { echo "does not run" && return; }
	field version "$said" && set -- "version ${value:--}"
	field pid "$said" && set -- "$1 pid $value"
	field generation "$said" && set -- "$1 generation $value"
	field phase "$said" && echo "$1 $value release $current"
}

# tell: well is check's exit code, why its words; runs: the process has the file that BIN links to; live was live and
# well last; id is that of the last release that was put here, back what a rollback of it leads to.
tell() { # maybe sum
	ask || said=''
	why=$(check '' 2>&1)
	well=$? runs=no key='' holder=''
	printf '%s\n' "well=$well" "why=${why:+$(printf '%s' "$why" | tr '\n' ' ')}"
	for name in version generation phase; do field $name "$said" && printf '%s\n' "$name=$value"; done
	running
	! up_to_date || runs=yes
	numbered
	lately
	last_id
	way_back "$id"
	{ read -r key && read -r holder; } 2>/dev/null <"$folder/claim"
	printf '%s\n' "pid=$pid" "runs=$runs" "release=$current" "live=${lately%% *}" "id=$id" "back=$to" \
		"claim=$key" "holder=${holder:+$(printf '%s' "$holder" | tr , ' ')}"
	if [ $# = 0 ]; then return; fi
	if [ "$well:$runs" = 0:yes ] && released "$1" 2>/dev/null; then echo has=yes; else echo has=no; fi
}

note() { noted "$*"; }

# is_empty: a connection that has not sent a byte is a spare one of the balancer's. HTTP/2
# does not say whether it is at rest: the stop sees to that, and to one that does not run.
is_empty() {
	left=''
	ask || { [ $? = 7 ] && return; } # nobody is there
	case $said in *'"older":null'* | *'"older":[]'*) ;; *) return 1 ;; esac
	open=${said##*\"open\":}
	for name in active hijacked other; do
		field $name "${open%%\}*}"
		case $value in [1-9]*) left="$left\"$name\":$value " ;; esac
	done
	[ -z "$left" ]
}

empty() {
	within "$EMPTY_TIMEOUT" is_empty ||
		fail 1 "$NODE still has requests in flight after $EMPTY_TIMEOUT s ($left): raise EMPTY_TIMEOUT"
}

# carried reads what release.sh carries here from where it runs. A release without settings leaves those of the service.
carried() {
	lines=
	while IFS='' read -r line; do
		case $line in
		'') return ;;
		SETTINGS=carried) SETTINGS='' given=yes ;;
		APP_*) lines="$lines$line
" ;;
		*) setting "what release.sh carries to $NODE" "$line" ;;
		esac
	done
	fail 1 "$NODE: the settings were cut short, by a connection that was lost"
}

# shellcheck disable=SC2034 # for releases.sh
carries='' given='' said=''
[ "${1-}" != -s ] || { carries=yes && shift; }
verb=${1-} NODE=${2-}
case $#:$verb in
2:check | 3:check | 2:keep | 2:empty | 2:stop | 2:put | [45]:put | [23]:restore | 2:start | 2:swap | 2:show) ;;
[23]:live | 3:has | [34]:claim | [34]:claimable | 3:free | [23]:tell | 3:note) ;;
*) fail 2 "want claim, claimable, free, check, show, tell, keep, empty, stop, put, restore, start, swap, has, live" \
	"or note, and NODE" ;;
esac
shift 2
[ -z "$carries" ] || carried
for tool in curl cmp flock cksum; do command -v $tool >/dev/null || fail 6 "needs $tool: install it"; done
[ -r "$SITE/$NODE" ] || fail 6 "$SITE/$NODE cannot be read: set SITE to the folder with the settings of the nodes"
export NODE
unset BIN CONTROL PIDFILE
settings "$SITE/$NODE"
[ -r "$CONTROL_SH" ] || fail 6 "$CONTROL_SH cannot be read: set CONTROL_SH to control.sh"
right_numbers "$0" "$CONTROL_SH"
known "$SITE/$NODE" "$here/control.sh" "$here/common.sh"
listed "$declared" PIDFILE || : "${PIDFILE:=}"
for name in BIN CONTROL PIDFILE; do
	eval "[ -n \"\${$name+x}\" ]" || fail 6 "$SITE/$NODE does not set $name"
	eval "[ \"$name\" = PIDFILE ] || [ -n \"\$$name\" ]" || fail 6 "$SITE/$NODE has no value for $name"
done
runnable CHECK "$CHECK"
[ -z "$SETTINGS" ] || [ -r "$SETTINGS" ] || fail 6 "$SETTINGS cannot be read: set SETTINGS to a file, or to nothing"
case $BIN in
/*) ;;
*) BIN=$PWD/${BIN#./} ;;
esac
folder=$BIN.releases
case $verb in check | show | tell | empty | has | claimable) ;; *) lock ;; esac
current
env=$folder/$current/env
if [ -s "$env" ]; then
	# What is in the environment of this may be another version's.
	for name in $(env | sed -n 's/^\(APP_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
	settings "$env"
	settings "$SITE/$NODE"
fi
case $verb in
start | stop | swap) control "$verb" ;;
*) "$verb" "$@" ;;
esac
