#!/bin/sh
# run.sh: what the role asks of the machine that runs ansible-playbook. DEPLOY is the folder of release.sh.
#
#   about       prints NAME=value of this run, whose key says that it is no other, with the sums of FILE and SETTINGS
#   lives KEY…  prints of each key of another run whether that run goes on: KEY=yes, KEY=gone, or KEY=elsewhere
#   gate        runs GATE, a command

: "${DEPLOY:?}"
# shellcheck source=/dev/null
. "$DEPLOY/common.sh"
# shellcheck source=/dev/null
. "$DEPLOY/record.sh"

: "${who:?}" # record.sh sets it
: "${FILE:=}"
: "${SETTINGS:=}"
: "${GATE:=}"

# began is when a process began: another one may have its pid by now.
began() { # pid
	if [ -d /proc/self ]; then
		{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
		# shellcheck disable=SC2086 # fields
		set -- ${stat##*) }
		printf '%s' "${20}"
	else
		word "$(ps -o lstart= -p "$1" 2>/dev/null)"
	fi
}

# playbook prints the pid of the ansible-playbook that has started this, whose workers have its name.
playbook() {
	pid=$$ of=''
	while [ "$pid" -gt 1 ]; do
		read -r parent args <<-END
			$(ps -o ppid= -o args= -p "$pid")
		END
		program=${args%% *}
		case ${program##*/}:$args in
		python*/ansible-playbook\ * | ansible-playbook*) of=$pid ;;
		*) [ -z "$of" ] || break ;;
		esac
		pid=${parent:-0}
	done
	[ -n "$of" ] || fail 6 "there is no ansible-playbook above this"
	printf '%s' "$of"
}

# shellcheck disable=SC2154 # sum sets itself
about() {
	pid=$(playbook)
	printf '%s\n' "key=$(word "$(uname -n):ansible-playbook:$pid:$(began "$pid")")" "who=$who" "now=$(now)"
	[ -z "$FILE" ] || { sum "$FILE" && printf '%s\n' "sum=$sum"; }
	# Which settings a release has is part of what it is.
	set=kept
	[ -z "$SETTINGS" ] || set=$(sed -n '/^APP_/p' "$SETTINGS" | cksum | tr -s ' ' :)
	printf '%s\n' "set=$set"
	[ -z "$SETTINGS" ] || (settings "$SETTINGS") || exit
	runnable app_gate "$GATE"
}

lives() {
	for key; do
		rest=${key#"$(word "$(uname -n):ansible-playbook:")"}
		pid=${rest%%:*}
		case $rest in
		"$key") how=elsewhere ;;
		*) if [ "$(began "$pid")" = "${rest#*:}" ] && alive "$pid"; then how=yes; else how=gone; fi ;;
		esac
		printf '%s\n' "$key=$how"
	done
}

# shellcheck disable=SC2086 # a command and its arguments
gate() { $GATE; }

case $#:${1-} in
1:about | 1:gate) "$1" ;;
*:lives) shift && lives "$@" ;;
*) fail 2 "want about, lives or gate" ;;
esac
