# nginx.sh: release.sh's BALANCER for nginx. It rewrites SERVERS, which an upstream
# block includes and which names the node behind each server:
#
#   server 127.0.0.1:8081 weight=100; # a
#
# and reloads nginx. Further parameters of a server stay as they are. Until the last worker with the old configuration
# is gone, they may send requests by that. Releases that share SERVERS take turns. It needs ps and flock.
# shellcheck shell=sh

: "${RUN_NGINX:=nginx}"      # as it was started: nginx -p DIR -c FILE. (NGINX is nginx's own variable)
: "${NGINX_PID:=/run/nginx.pid}"
: "${SERVERS:=/etc/nginx/servers.conf}"

# shellcheck disable=SC2034 # for release.sh
balancer_weights=yes

balancer_settings() {
	command -v ps >/dev/null || fail 6 "needs ps: install procps"
	command -v flock >/dev/null || fail 6 "needs flock: install util-linux"
	runnable RUN_NGINX "$RUN_NGINX"
	for node in $NODES; do
		[ -n "$(balancer_status "$node")" ] || fail 6 "$SERVERS: want a line \"server ADDRESS weight=100; # $node\""
	done
	[ -n "$(workers)" ] || fail 6 "nginx is not running, or $NGINX_PID is another's: set NGINX_PID"
	writable "$SERVERS" || unwritten 6 "$SERVERS"
	# shellcheck disable=SC2086 # a command and its arguments
	$RUN_NGINX -q -t || fail 6 "nginx does not take its configuration as it is: mend that"
}

# status is down, or its weight.
balancer_status() {
	awk -v node="$1" '
		$1 == "server" && $NF == node && $(NF - 1) == "#" {
			for (i = NF - 2; i > 2 && is != "down"; i--) {
				sub(";", "", $i)
				if ($i == "down" || $i ~ /^weight=/) is = $i
			}
			print is
		}' "$SERVERS"
}
balancer_ready() { case $(balancer_status "$1") in weight=*) ;; *) return 1 ;; esac }

balancer_out() {
	awk -v node="$1" '$1 == "server" && $NF != node && !/[ \t]down[ ;]/ { n++ } END { exit !n }' "$SERVERS" ||
		fail 1 "$1 is the last server in $SERVERS that is not down"
	edit "$1" down
}
balancer_in() { edit "$1" "weight=$2"; }

# shellcheck disable=SC2154 # at_end_of sets target
edit() { # node, parameter
	at_end_of "$SERVERS"
	rewrite "$@" 7<"$(dirname "$target")" || exit
	within "$BALANCER_TIMEOUT" renewed || fail 1 "workers of nginx with the old configuration are still there after" \
		"$BALANCER_TIMEOUT s: pid $left; a long request, or see nginx's error log"
}

# rewrite takes the parameter back where nginx does not take it. Of the file there is a new one each time, so the lock
# is that of its folder.
rewrite() { # node, parameter
	within "$BALANCER_TIMEOUT" flock -n 7 ||
		fail 1 "another release changes $SERVERS and is not done after $BALANCER_TIMEOUT s"
	before=$(cat "$SERVERS")
	after=$(awk -v node="$1" -v want="$2" '
		$1 == "server" && $NF == node && $(NF - 1) == "#" {
			line = "server " $2
			for (i = 3; i < NF - 1; i++) {
				sub(";", "", $i)
				if ($i != "" && $i != "down" && $i !~ /^weight=/) line = line " " $i
			}
			print line, want "; #", node
			next
		}
		{ print }' "$SERVERS")
	{ [ -n "$after" ] && written "$SERVERS" printf '%s\n' "$after"; } || unwritten 6 "$SERVERS"
	# shellcheck disable=SC2086 # a command and its arguments
	if ! $RUN_NGINX -q -t; then
		written "$SERVERS" printf '%s\n' "$before" || unwritten 1 "$SERVERS" "nginx does not take what is there"
		fail 1 "nginx does not take the configuration: $SERVERS is as it was"
	fi
	# Those that an interrupted run has left shutting down are among them.
	old=$(workers)
	# shellcheck disable=SC2086
	$RUN_NGINX -q -s reload || fail 1 "nginx was not reloaded: see its error log"
}

workers() { # their pids
	master=
	{ read -r master <"$NGINX_PID"; } 2>/dev/null
	ps -A -o pid= -o ppid= | awk -v master="$master" '$2 == master && master { print $1 }'
}
renewed() {
	left=$(workers | grep -x -F -e "$old" | tr '\n' ' ')
	[ -z "$left" ]
}
