#!/bin/sh
# node.sh: what release.sh asks of a node, node.sh VERB NODE, for nodes of this machine;
# by ON=ssh it is another one, which has its own node.sh. SITE/NODE has the node's
# settings for control.sh, as lines BIN=…, CONTROL=…, and so on.
#
#   check    it is ready, and CHECK says so: asked directly, not through the balancer;
#            check NODE URL asks there. Exit code 3: it does not run, 6: wrong settings
#   keep     remembers what it runs now, and its SETTINGS, beside BIN
#   empty    waits until no request is in flight there, in older generations neither
#   stop     control.sh's
#   put      puts the new binary, which is its input, in the place of the old, by rename
#   restore  puts back what was kept
#   start    control.sh's
#   swap     control.sh reload; where the settings have changed, which a process that
#            runs does not hear of, restart. Nothing where it runs the same already
#
# It needs curl, and for check and empty the service's control socket.
#
# All of these files have lines NAME=value: see settings in common.sh. SETTINGS is one whose
# lines APP_NAME=value are for the service's environment. They are put, kept and restored with
# the binary; what SITE/NODE sets counts more.

: "${SITE:=./site}"        # a folder with a file for each node
: "${SETTINGS:=}"          # a file, as above
: "${CHECK:=}"             # a command that asks the node at $URL; $NODE is its name
: "${EMPTY_TIMEOUT:=60}"   # seconds: your longest request

here=${0%/*}
[ "$here" != "$0" ] || here=.
: "${CONTROL_SH:=$here/control.sh}"
# shellcheck source=/dev/null
. "$here/common.sh"

# What starts a service must not pass release.sh's lock on to it. What a stop had to cut off
# is gone, and has been said.
control() {
	sh "$CONTROL_SH" "$1" 9>&-
	code=$?
	[ "$code" = 155 ] || return "$code"
}

ask() { curl -q -s -f -m 10 --unix-socket "$CONTROL" http://app/status; }

check() { # maybe a URL
	if ! said=$(ask); then
		control status >/dev/null 2>&1
		case $? in 1 | 3) fail 3 "$NODE is not running" ;; esac
		fail 1 "$NODE does not answer at $CONTROL"
	fi
	phase=$(printf '%s' "${said%%,\"listeners\"*}" | sed -n 's/.*"phase":"\([^"]*\).*/\1/p')
	[ "$phase" = ready ] || fail 1 "$NODE is not ready: $phase"
	# shellcheck disable=SC2086 # a command and its arguments
	[ -z "$CHECK" ] || URL=${1:-$URL} $CHECK || fail 1 "$NODE: \"$CHECK\" failed"
}

# is_empty: a connection that has not sent a byte is a spare one of the balancer's. HTTP/2
# does not say whether it is at rest: the stop sees to that, and to one that does not run.
is_empty() {
	left='' said=$(ask) || { [ $? = 7 ] && return; } # nobody is there
	case $said in *'"older":null'* | *'"older":[]'*) ;; *) return 1 ;; esac
	left=$(printf '%s\n' "$said" | sed -n 's/.*"open":{\([^}]*\)}.*/\1/p' | tr , '\n' |
		grep -E '^"(active|hijacked|other)":[1-9]' | tr '\n' ' ')
	[ -z "$left" ]
}

empty() {
	within "$EMPTY_TIMEOUT" is_empty ||
		fail 1 "$NODE still has requests in flight after $EMPTY_TIMEOUT s ($left): raise EMPTY_TIMEOUT"
}

# keep: what runs, which may be another than what lies there.
keep() {
	mkdir -p "${BIN%/*}" || return
	pid=
	{ read -r pid <"$PIDFILE"; } 2>/dev/null
	from=/proc/$pid/exe
	[ -n "$pid" ] && [ -r "$from" ] || from=$BIN
	place "$BIN.env" "$BIN.old.env" && place "$from" "$BIN.old"
}

# place copies by rename. What is not there is an empty file: no settings.
place() { # from, to
	if [ -e "$1" ]; then cp "$1" "$2.tmp"; else : >"$2.tmp"; fi && mv "$2.tmp" "$2"
}

put() {
	mkdir -p "${BIN%/*}" || return
	if [ -n "$SETTINGS" ]; then
		sed -n '/^APP_/p' "$SETTINGS" >"$BIN.env.tmp" && mv "$BIN.env.tmp" "$BIN.env" || return
	fi
	cat >"$BIN.new" && chmod +x "$BIN.new" && mv "$BIN.new" "$BIN"
}

# restore: a link, because a full disk may be why we are here.
restore() {
	[ -e "$BIN.old" ] || fail 6 "$BIN.old is not there"
	[ ! -e "$BIN.old.env" ] || relink "$BIN.old.env" "$BIN.env" || return
	relink "$BIN.old" "$BIN"
}

relink() { cmp -s "$1" "$2" || { ln -f "$1" "$2.new" && mv "$2.new" "$2"; }; }

swap() {
	pid=
	{ read -r pid <"$PIDFILE"; } 2>/dev/null
	runs=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | of_service)
	if [ ! -e "/proc/$pid/exe" ] || [ "$runs" != "$(env | of_service)" ]; then
		control restart
	elif ! cmp -s "/proc/$pid/exe" "$BIN"; then
		control reload
	fi
}
of_service() { grep '^APP_' | sort; }

verb=${1-} NODE=${2-}
case $#:$verb in
3:check | 2:check | 2:keep | 2:empty | 2:stop | 2:put | 2:restore | 2:start | 2:swap) ;;
*) fail 2 "want check, keep, empty, stop, put, restore, start or swap, and NODE" ;;
esac
for tool in curl cmp; do command -v $tool >/dev/null || fail 6 "needs $tool: install it"; done
[ -r "$CONTROL_SH" ] || fail 6 "$CONTROL_SH cannot be read: set CONTROL_SH to control.sh"
[ -r "$SITE/$NODE" ] || fail 6 "$SITE/$NODE cannot be read: set SITE to the folder with the settings of the nodes"
export NODE
unset BIN CONTROL PIDFILE
settings "$SITE/$NODE"
{ [ -n "$BIN" ] && [ -n "$CONTROL" ] && [ -n "$PIDFILE" ]; } || fail 6 "want BIN, CONTROL and PIDFILE in $SITE/$NODE"
if [ -r "$BIN.env" ]; then
	# What whoever calls this has in its environment may be another version's.
	for name in $(env | sed -n 's/^\(APP_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
	settings "$BIN.env"
	settings "$SITE/$NODE"
fi
case $verb in
start | stop) control "$verb" ;;
check) check "${3-}" ;;
*) "$verb" ;;
esac
