#!/bin/sh
# node.sh: what release.sh asks of a node, for nodes on this machine. SITE/NODE has
# the node's settings for control.sh, as lines BIN=…, CONTROL=…, and so on. For nodes
# elsewhere write one that does the same by ssh, and set AT_NODE to it.
#
#   check    it is ready, and CHECK says so: asked directly, not through the balancer
#   keep     remembers what it runs now, beside BIN
#   empty    waits until no request is in flight there
#   stop     control.sh's
#   put FILE puts the new binary in the place of the old, by rename
#   restore  puts back what was kept
#   start    control.sh's

: "${SITE:=./site}"        # a folder with a file for each node
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
	said=$(control status) || fail 1 "$NODE: $said"
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
	cp "$from" "$BIN.old.tmp" && mv "$BIN.old.tmp" "$BIN.old"
}

put() { cp "$1" "$BIN.new" && chmod +x "$BIN.new" && mv "$BIN.new" "$BIN"; }

# restore: a link, because a full disk may be why we are here.
restore() {
	[ -e "$BIN.old" ] || fail 6 "$BIN.old is not there"
	cmp -s "$BIN.old" "$BIN" || { ln -f "$BIN.old" "$BIN.new" && mv "$BIN.new" "$BIN"; }
}

verb=${1-} NODE=${2-}
case $#:$verb in
2:check | 2:keep | 2:empty | 2:stop | 2:restore | 2:start | 3:put) ;;
*) fail 2 "want check, keep, empty, stop, restore or start NODE, or put NODE FILE" ;;
esac
[ -r "$SITE/$NODE" ] || fail 6 "$SITE/$NODE cannot be read: set SITE to the folder with the settings of the nodes"
set -a
# shellcheck disable=SC1090
case $SITE in */*) . "$SITE/$NODE" ;; *) . "./$SITE/$NODE" ;; esac
set +a
: "${BIN:?is not set in $SITE/$NODE}" "${CONTROL:?is not set in $SITE/$NODE}" "${PIDFILE:?is not set in $SITE/$NODE}"
case $verb in
stop | start) control "$verb" ;;
put) put "$3" ;;
*) "$verb" ;;
esac
