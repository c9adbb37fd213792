#!/bin/sh
# rolling.sh: a new version onto the nodes behind HAProxy, one after the other.
#
#   rolling.sh restart NODE...   stop, replace, start: for whatever has changed
#   rolling.sh reload NODE...    replace and swap in place: nobody notices
#
# A NODE is the name of a server in BACKEND, and of a file of settings for
# control.sh in NODES (NAME='value', a line each). It goes on to the next node
# only when each HAProxy itself says that this one is UP, and takes none out
# while another server is not: so a version that does not start costs one node,
# and the site lives on the others. Run again, with a version that starts, it
# begins with what it had left behind.
#
# Exit codes: 0 done; 1 a node failed, and those behind it are as they were; 2
# wrong usage; 5 NEW is not there; 6 wrong configuration; 150 HAProxy does not
# say in time that a node is UP.

: "${NEW:=./app.new}"              # the new version
: "${NODES:=./nodes}"
: "${HAPROXY:=/run/haproxy.sock}"  # the stats socket of each HAProxy, split at blanks
: "${BACKEND:=app}"
: "${UP_TIMEOUT:=60}"              # seconds: more than rise × inter
: "${CONTROL_SH:=$(dirname "$0")/../control.sh}"

say() { printf '%s\n' "${0##*/}: $*"; }
fail() { # code, message
	code=$1
	shift
	say "$@" >&2
	exit "$code"
}

# settings puts a node's into the environment. To reach one on another machine,
# let this and the two lines that call control.sh and mv go through ssh.
settings() { # node
	set -a
	# shellcheck source=/dev/null
	. "$NODES/$1"
	set +a
}
control() { (settings "$1" && exec sh "$CONTROL_SH" "$2"); } # node, verb

# replace: by rename, since what runs has the old file open.
replace() { # node
	(
		settings "$1"
		cp "$NEW" "$BIN.new" && chmod +x "$BIN.new" && mv "$BIN.new" "$BIN"
	)
}

# states prints what an HAProxy says of each server, its name first. The fields
# of "show stat" are in HAProxy's management guide; 4 is for servers.
states() { # socket
	echo "show stat $BACKEND 4 -1" | socat -t 5 - "UNIX-CONNECT:$1" 2>/dev/null |
		awk -F, -v backend="$BACKEND" '$1 == backend { print $2, $18 }'
}

# up: in every HAProxy. "UP 2/3" is about to go, "DOWN 1/2" to come.
up() { # node
	for socket in $HAPROXY; do
		state=$(states "$socket" | sed -n "s/^$1 //p")
		[ "$state" = UP ] || return 1
	done
}

# spared: every other server is up.
spared() { # node
	for socket in $HAPROXY; do
		lacking=$(states "$socket" | awk -v node="$1" '
			$1 != node && !($2 == "UP" && NF == 2)
			END { if (!NR) print "no answer" }')
		[ -z "$lacking" ] || return 1
	done
}

within() { # seconds, command
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -le "$end" ] || return 1
		sleep 0.1 2>/dev/null || sleep 1
	done
}

verb=${1-} first='' last=''
case $verb in
restart | reload) shift ;;
*) fail 2 "want restart or reload, and nodes" ;;
esac
[ $# -gt 0 ] || fail 2 "which nodes? Name at least one"
command -v socat >/dev/null || fail 6 "needs socat: install it"
case $NEW in /*) ;; *) NEW=$PWD/$NEW ;; esac
[ -f "$NEW" ] || fail 5 "$NEW is not there: set NEW to the new version"
for node in "$@"; do
	[ -r "$NODES/$node" ] || fail 6 "$NODES/$node cannot be read: it is to hold node $node's settings for control.sh"
	for socket in $HAPROXY; do
		[ -n "$(states "$socket" | sed -n "s/^$node //p")" ] ||
			fail 6 "HAProxy at $socket knows no server $BACKEND/$node, or does not answer: set HAPROXY and BACKEND"
	done
done

# Those that are not up have nothing to lose, and the others need them.
for node in "$@"; do
	if up "$node"; then last="$last $node"; else first="$first $node"; fi
done

for node in $first $last; do
	within "$UP_TIMEOUT" spared "$node" ||
		fail 150 "$node was not taken out, since HAProxy at $socket says:" "$lacking"
	replace "$node" || fail 1 "$node: the new version could not be put in place; what ran runs on"
	control "$node" "$verb" || fail 1 "$node: $verb failed; the nodes behind it are as they were"
	within "$UP_TIMEOUT" up "$node" ||
		fail 150 "$node runs, but is $state in HAProxy at $socket; the nodes behind it are as they were"
	say "$node is done"
done
