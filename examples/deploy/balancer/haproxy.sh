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

# ask prints the answer. Each one ends with an empty line: without that there is none.
ask() { # socket, command
	said=$(printf '%s\n' "$2" |
		socat -t "$HAPROXY_TIMEOUT" - "UNIX-CONNECT:$1,connect-timeout=$HAPROXY_TIMEOUT" 2>/dev/null && echo .)
	case $said in *"
.") printf '%s' "${said%.}" ;; *) return 1 ;; esac
}

# silent succeeds if a HAProxy does not answer, and says which.
silent() {
	for socket in $HAPROXY; do
		ask "$socket" "show cli level" >/dev/null && continue
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
		said=$(ask "$socket" "$1") && [ -z "$said" ] && continue
		[ -z "$said" ] || say "$socket: $1: $said" >&2
		told=1
	done
	[ "$told" = 0 ] || not_so 1 "not each HAProxy has done that"
}

# servers prints the name, status, weight and requests of each, at one HAProxy. What
# is about to come or to go is "DOWN 1/2" or "UP 2/3", here with a _.
servers() { # socket
	stat=$(ask "$1" "show stat $BACKEND 4 -1") || return
	printf '%s\n' "$stat" | tr ' ' _ | awk -F , -v backend="$BACKEND" '
		NR == 1 { sub(/^#_/, ""); for (i = 1; i <= NF; i++) column[$i] = i }
		$1 == backend { print $2, $column["status"], $column["weight"], $column["scur"] }'
}

# is: at each HAProxy the server is as the expression of awk says.
is() { # node, expression
	for socket in $HAPROXY; do
		servers "$socket" | awk -v node="$1" '
			function in_use(status) { return status == "UP" || status == "no_check" }
			$1 == node { there = 1; status = $2; weight = $3; requests = $4 }
			$1 != node && $2 ~ /^(UP|no_check)/ && $3 > 0 { others++ }
			END { exit !(there && ('"$2"')) }' || return 1
	done
}

balancer_settings() {
	command -v socat >/dev/null || fail 6 "needs socat: install it"
	case $DRAIN in yes | no) ;; *) fail 6 "DRAIN is \"$DRAIN\": want yes or no" ;; esac
	for node in $NODES; do
		is "$node" 1 || not_so 6 "HAProxy at $socket knows no server $BACKEND/$node: set HAPROXY and BACKEND"
		for socket in $HAPROXY; do
			[ "$DRAIN" = no ] || [ "$(ask "$socket" "show cli level" | tr -d '\n')" = admin ] ||
				fail 6 "HAProxy takes no orders at $socket: give that \"level admin\", or set DRAIN=no"
			first=$(ask "$socket" "get weight $BACKEND/$node" | sed -n 's/.*(initial \([0-9]*\)).*/\1/p')
			[ $((${first:-100} * WEIGHT)) -ge 100 ] ||
				fail 6 "$WEIGHT % of the weight of $node is 0: give the servers weight 100 in HAProxy's configuration"
		done
	done
}

balancer_ready() { is "$1" 'in_use(status)'; }
balancer_none() { is "$1" '!in_use(status)'; }

balancer_status() {
	for one in $HAPROXY; do
		each=$(servers "$one") || { silent; return 0; }
		printf '%s\n' "$each" | awk -v node="$1" '$1 == node { print $2 }'
	done | tr '\n' ' '
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
