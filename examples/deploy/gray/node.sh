#!/bin/sh
# node.sh: what release.sh asks of a node, for nodes on this machine. SITE/NODE has
# the node's settings for control.sh, as lines BIN=…, CONTROL=…, and so on. For nodes
# elsewhere write one that does the same by ssh, and set AT_NODE to it.
#
#   check    it is ready, and CHECK says so: asked directly, not through the balancer
#   keep     remembers what it runs now, and its SETTINGS, beside BIN
#   empty    waits until no request is in flight there
#   stop     control.sh's
#   put FILE puts the new binary in the place of the old, by rename
#   restore  puts back what was kept
#   start    control.sh's
#   swap     control.sh reload; where the settings have changed, which a process that
#            runs does not hear of, restart. Nothing where it runs the same already
#
# SETTINGS is a file with lines APP_NAME=value for the service's environment. They are
# put, kept and restored with the binary; what SITE/NODE sets counts more.

: "${SITE:=./site}"        # a folder with a file for each node
: "${SETTINGS:=}"          # a file, as above
: "${CHECK:=}"             # a command that asks the node at $URL; $NODE is its name
: "${EMPTY_TIMEOUT:=60}"   # seconds: your longest request
: "${CONTROL_SH:=$(dirname "$0")/../control.sh}"

fail() { # code, message
	code=$1
	shift
	printf '%s\n' "${0##*/}: $*" >&2
	exit "$code"
}

# What starts a service must not pass release.sh's lock on to it.
control() { sh "$CONTROL_SH" "$1" 9>&-; }

# in_flight prints how many connections of whom have a request under way or coming.
in_flight() {
	"$BIN" -control "$CONTROL" -s status 2>/dev/null | sed -n 's/.*"open":{\([^}]*\)}.*/\1/p' | tr , '\n' |
		awk -F : '$1 ~ /"(new|active|hijacked|http2|other)"/ { n += $2 } END { if (NR) print n }'
}

empty() {
	end=$(($(date +%s) + EMPTY_TIMEOUT))
	while n=$(in_flight) && [ "$n" != 0 ]; do
		# One that does not run, or does not answer, is stop's to deal with.
		if [ -z "$n" ]; then return; fi
		[ "$(date +%s)" -le "$end" ] || fail 1 "$NODE: $n connection(s) with requests in flight after $EMPTY_TIMEOUT s: raise EMPTY_TIMEOUT"
		sleep 0.1 2>/dev/null || sleep 1
	done
}

check() {
	said=$(control status 2>&1) || fail 1 "$NODE: $said"
	case $said in *", ready") ;; *) fail 1 "$NODE is not ready: $said" ;; esac
	# shellcheck disable=SC2086 # a command and its arguments
	[ -z "$CHECK" ] || $CHECK || fail 1 "$NODE: \"$CHECK\" failed"
}

# keep: what runs, which may be another than what lies there.
keep() {
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
	if [ -n "$SETTINGS" ]; then
		sed -n '/^APP_/p' "$SETTINGS" >"$BIN.env.tmp" && mv "$BIN.env.tmp" "$BIN.env" || return
	fi
	cp "$1" "$BIN.new" && chmod +x "$BIN.new" && mv "$BIN.new" "$BIN"
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
2:check | 2:keep | 2:empty | 2:stop | 2:restore | 2:start | 2:swap | 3:put) ;;
*) fail 2 "want check, keep, empty, stop, restore, start or swap NODE, or put NODE FILE" ;;
esac
[ -r "$SITE/$NODE" ] || fail 6 "$SITE/$NODE cannot be read: set SITE to the folder with the settings of the nodes"
case $SITE in */*) node=$SITE/$NODE ;; *) node=./$SITE/$NODE ;; esac
export NODE
set -a
# shellcheck disable=SC1090
. "$node"
: "${BIN:?is not set in $SITE/$NODE}" "${CONTROL:?is not set in $SITE/$NODE}" "${PIDFILE:?is not set in $SITE/$NODE}"
if [ -r "$BIN.env" ]; then
	# What whoever calls this has in its environment may be another version's.
	for name in $(env | sed -n 's/^\(APP_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
	# shellcheck disable=SC1090
	. "$BIN.env" && . "$node"
fi
set +a
case $verb in
stop | start) control "$verb" ;;
put) put "$3" ;;
*) "$verb" ;;
esac
