# haproxy.sh: release.sh's BALANCER for HAProxy, by its runtime socket ("stats
# socket … level admin"). A node's name is its server's. Where there are several
# HAProxys, it does all in each, and nothing is done before each has answered.
#
# DRAIN=yes drains a server; weights are set. That is gone when HAProxy restarts. A
# request that sticks to the server by a cookie goes there still.
# DRAIN=no sets nothing, so that "level user" will do: HAProxy learns from its checks.
#
# It needs socat.
# shellcheck shell=sh

: "${HAPROXY:=/run/haproxy/admin.sock}" # the socket of each HAProxy, split at blanks
: "${BACKEND:=app}"
: "${DRAIN:=yes}"
: "${HAPROXY_TIMEOUT:=5}" # seconds for its answer

# shellcheck disable=SC2034 # for release.sh
if [ "$DRAIN" = yes ]; then balancer_weights=yes; else balancer_probes=yes; fi

# ask sets said to the answer. Each one ends with an empty line: without that there is none.
ask() { # socket, command
	said=$(
		socat -t "$HAPROXY_TIMEOUT" - "UNIX-CONNECT:$1,connect-timeout=$HAPROXY_TIMEOUT" 2>/dev/null <<-END && echo .
			$2
		END
	)
	case $said in *"
.") said=${said%.} said=${said%"${said##*[!
]}"} ;; *) return 1 ;; esac
}

# silent succeeds if a HAProxy does not answer, and says which.
silent() {
	for socket in $HAPROXY; do
		ask "$socket" "show cli level" && continue
		say "no HAProxy answers at $socket: start it, or set HAPROXY to the sockets of those that run" >&2
		return
	done
	return 1
}
# not_so says why something is not so.
not_so() { # code, message
	! silent || exit "$1"
	fail "$@"
}

# tell has each HAProxy do it, also where one before does not.
tell() { # commands
	told=0
	for socket in $HAPROXY; do
		ask "$socket" "$1" && [ -z "$said" ] && continue
		[ -z "$said" ] || say "$socket: $1: $said" >&2
		told=1
	done
	[ "$told" = 0 ] || not_so 1 "not each HAProxy has done that"
}

# server has awk do something with the status, weight and requests of a server, at one HAProxy. What is about to come or
# to go is "DOWN 1/2" or "UP 2/3", here with a _.
server() { # socket, node, what awk does at the end
	ask "$1" "show stat $BACKEND 4 -1" || return
	awk -F , -v backend="$BACKEND" -v node="$2" '
		function in_use(status) { return status == "UP" || status == "no_check" }
		{ gsub(/ /, "_") }
		NR == 1 { sub(/^#_/, ""); for (i = 1; i <= NF; i++) column[$i] = i }
		$1 != backend { next }
		$2 == node { there = 1; status = $column["status"]; weight = $column["weight"]; requests = $column["scur"] }
		$2 != node && $column["status"] ~ /^(UP|no_check)/ && $column["weight"] > 0 { others++ }
		END { '"$3"' }' <<-END
			$said
		END
}

# is: at each HAProxy the server is as the expression of awk says.
is() { # node, expression
	for socket in $HAPROXY; do
		server "$socket" "$1" "exit !(there && ($2))" || return 1
	done
}

balancer_settings() {
	command -v socat >/dev/null || fail 6 "needs socat: install it"
	case $DRAIN in yes | no) ;; *) fail 6 "DRAIN is \"$DRAIN\": want yes or no" ;; esac
	for node in $NODES; do
		is "$node" 1 || not_so 6 "HAProxy at $socket knows no server $BACKEND/$node: set HAPROXY and BACKEND"
		for socket in $HAPROXY; do
			[ "$DRAIN" = no ] || { ask "$socket" "show cli level" && [ "$said" = admin ]; } ||
				fail 6 "HAProxy takes no orders at $socket: give that \"level admin\", or set DRAIN=no"
			ask "$socket" "get weight $BACKEND/$node" || said=''
			case $said in *"(initial "[0-9]*) first=${said##*"(initial "} first=${first%%[!0-9]*} ;; *) first=100 ;; esac
			[ $((first * WEIGHT)) -ge 100 ] ||
				fail 6 "$WEIGHT % of the weight of $node is 0: give the servers weight 100 in HAProxy's configuration"
		done
	done
}

balancer_ready() { is "$1" 'in_use(status)'; }
balancer_none() { is "$1" '!in_use(status)'; }

balancer_status() {
	for one in $HAPROXY; do
		server "$one" "$1" 'if (there) printf "%s ", status' || { silent; return 0; }
	done
}

balancer_out() {
	is "$1" 'others || status !~ /^(UP|no_check)/' ||
		not_so 1 "$1 is the last server of $BACKEND that is up, at $socket"
	tell "set server $BACKEND/$1 state drain"
	within "$BALANCER_TIMEOUT" is "$1" 'status !~ /^(UP|no_check)/ && requests == 0' ||
		not_so 1 "$1 still has requests of HAProxy after $BALANCER_TIMEOUT s"
}

balancer_in() {
	[ "$DRAIN" = no ] || tell "set server $BACKEND/$1 weight $2%; set server $BACKEND/$1 state ready"
	within "$BALANCER_TIMEOUT" balancer_ready "$1" ||
		not_so 1 "HAProxy says that $1 is $(balancer_status "$1")after $BALANCER_TIMEOUT s: can it reach /ping there?"
}
