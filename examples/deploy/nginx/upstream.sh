#!/bin/sh
# upstream.sh: release.sh's BALANCER for nginx. It rewrites SERVERS, which an
# upstream block includes and which names the node behind each server:
#
#   server 127.0.0.1:8081 weight=100; # a
#
#   down NODE  marks it down, reloads, and returns when no worker with the old
#              configuration is left: until then they may still send it requests
#   up NODE N  gives it weight N, and reloads likewise
#
# It needs ps.

: "${RUN_NGINX:=nginx}"                  # as it was started: nginx -p DIR -c FILE. (NGINX is nginx's own variable)
: "${NGINX_PID:=/run/nginx.pid}"
: "${SERVERS:=/etc/nginx/servers.conf}"
: "${BALANCER_TIMEOUT:=60}"              # seconds: your longest request

fail() { # code, message
	code=$1
	shift
	printf '%s\n' "${0##*/}: $*" >&2
	exit "$code"
}

# edit puts "down" or "weight=N" into the line of the node.
edit() { # node, parameter
	awk -v node="$1" -v want="$2" '
		$1 == "server" && $NF == node && $(NF - 1) == "#" { print "server", $2, want "; #", node; found++; next }
		{ print }
		END { exit found != 1 }' "$SERVERS"
}
others() { awk -v node="$1" '$1 == "server" && $NF != node && !/ down; / { n++ } END { print n + 0 }' "$SERVERS"; }

children() { ps -A -o pid= -o ppid= | awk -v master="$1" '$2 == master { print $1 }'; }

reload() {
	master=
	{ read -r master <"$NGINX_PID"; } 2>/dev/null
	case $master in '' | *[!0-9]*) fail 6 "$NGINX_PID holds no pid: set NGINX_PID to the pid file of nginx" ;; esac
	# Those that an interrupted run has left shutting down are among them.
	old=$(children "$master")
	[ -n "$old" ] || fail 1 "nginx is not running, or $NGINX_PID is another's: pid $master has no workers"
	# shellcheck disable=SC2086 # a command and its arguments
	$RUN_NGINX -q -s reload || fail 1 "nginx was not reloaded"
	end=$(($(date +%s) + BALANCER_TIMEOUT))
	while left=$(stale) && [ -n "$left" ]; do
		[ "$(date +%s)" -le "$end" ] || fail 1 "workers of nginx with the old configuration are still there after" \
			"$BALANCER_TIMEOUT s: pid $left; a long request, or see nginx's error log"
		sleep 0.1 2>/dev/null || sleep 1
	done
}

stale() {
	now=$(children "$master")
	for pid in $old; do
		case "
$now
" in *"
$pid
"*) printf '%s ' "$pid" ;; esac
	done
}

case $#:${1-} in
2:down)
	[ "$(others "$2")" -gt 0 ] || fail 1 "$2 is the last server in $SERVERS that is not down"
	want=down
	;;
3:up) want=weight=$3 ;;
*) fail 2 "want down NODE, or up NODE PERCENT" ;;
esac
edit "$2" "$want" >"$SERVERS.new" || fail 6 "$SERVERS: want one line \"server ADDRESS weight=100; # $2\""
# A copy and no link: what lies there is to be the old one whenever this ends.
{ cp "$SERVERS" "$SERVERS.old" && mv "$SERVERS.new" "$SERVERS"; } || fail 6 "cannot write to $SERVERS"
# shellcheck disable=SC2086
if ! $RUN_NGINX -q -t; then
	mv "$SERVERS.old" "$SERVERS"
	fail 1 "nginx does not take the configuration: $SERVERS is as it was"
fi
reload
