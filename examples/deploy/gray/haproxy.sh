#!/bin/sh
# haproxy.sh: release.sh's BALANCER for HAProxy, by its runtime socket ("stats
# socket … level admin"). A node's name is its server's.
#
#   down NODE  drain: no new requests, except those that stick to it by a cookie;
#              returns when HAProxy has no request there any more
#   up NODE N  N % of its weight; returns when HAProxy itself says that it is UP
#
# What it sets is gone when HAProxy is restarted. It needs socat.

: "${SOCKET:=/run/haproxy/admin.sock}"
: "${BACKEND:=app}"
: "${BALANCER_TIMEOUT:=60}" # seconds: your longest request, and rise × inter

fail() { # code, message
	code=$1
	shift
	printf '%s\n' "${0##*/}: $*" >&2
	exit "$code"
}

ask() { printf '%s\n' "$*" | socat -t 10 - "UNIX-CONNECT:$SOCKET" 2>/dev/null; }

tell() { # says something only when it does not like the command
	said=$(ask "$@") || fail 1 "no answer at $SOCKET: set SOCKET to HAProxy's stats socket"
	[ -z "$said" ] || fail 1 "$*: $said"
}

# field prints a column of show stat for a server of the backend.
field() { # node, name
	ask show stat | awk -F , -v be="$BACKEND" -v sv="$1" -v name="$2" '
		NR == 1 { sub(/^# /, ""); for (i = 1; i <= NF; i++) column[$i] = i }
		$1 == be && $2 == sv { print $column[name] }'
}

# others counts the servers besides NODE that get requests.
others() { # node
	ask show stat | awk -F , -v be="$BACKEND" -v sv="$1" '
		NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i }
		$1 == be && $2 != sv && $2 != "BACKEND" && $2 != "FRONTEND" && ($column["status"] ~ /^UP/ || $column["status"] == "no check") && $column["weight"] > 0 { n++ }
		END { print n + 0 }'
}

is_up() { case $(field "$1" status) in UP* | "no check") ;; *) return 1 ;; esac }
is_empty() {
	case $(field "$1" status) in UP* | "no check") return 1 ;; esac
	[ "$(field "$1" scur)" = 0 ]
}

within() { # seconds, command
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -le "$end" ] || return 1
		sleep 0.1 2>/dev/null || sleep 1
	done
}

case $#:${1-} in
2:down)
	! is_up "$2" || [ "$(others "$2")" -gt 0 ] || fail 1 "$2 is the last server of $BACKEND that is up"
	tell set server "$BACKEND/$2" state drain
	within "$BALANCER_TIMEOUT" is_empty "$2" || fail 1 "$2 still has requests of HAProxy after $BALANCER_TIMEOUT s"
	;;
3:up)
	tell set server "$BACKEND/$2" weight "$3%"
	[ "$(field "$2" weight)" != 0 ] || fail 6 "$3 % of the weight of $2 is 0: give the servers weight 100 in HAProxy's configuration"
	tell set server "$BACKEND/$2" state ready
	within "$BALANCER_TIMEOUT" is_up "$2" || fail 1 "HAProxy says that $2 is $(field "$2" status) after $BALANCER_TIMEOUT s: can it reach /ping there?"
	;;
*) fail 2 "want down NODE, or up NODE PERCENT" ;;
esac
