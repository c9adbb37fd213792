# keepalived.sh: release.sh's BALANCER for an address that moves, and for others that
# learn from their probes and say of a node that it is MASTER, BACKUP or UP.
# shellcheck shell=sh

: "${NODE_STATE:=}"                # a command: NODE_STATE NODE says it; default: the node's FILE
: "${FILE:=/etc/keepalived/state}" # where keepalived.conf has that written

# shellcheck disable=SC2034 # for release.sh
balancer_probes=yes

balancer_settings() {
	runnable NODE_STATE "$NODE_STATE"
	for node in $NODES; do
		[ -n "$(balancer_status "$node")" ] || fail 6 "nobody knows how $node is: set FILE, ON or NODE_STATE"
	done
}

balancer_status() {
	# An ssh that reads the terminal would be stopped in the background, and release.sh with it.
	# shellcheck disable=SC2086 # commands and their arguments
	if [ -n "$NODE_STATE" ]; then $NODE_STATE "$1"; else $ON ${ON:+"$1"} cat "$FILE"; fi 2>/dev/null </dev/null
}

balancer_ready() { case $(balancer_status "$1") in MASTER | BACKUP | UP) ;; *) return 1 ;; esac }

balancer_in() {
	within "$BALANCER_TIMEOUT" balancer_ready "$1" ||
		fail 1 "$1 is $(balancer_status "$1") after $BALANCER_TIMEOUT s: does the service answer /ping there?"
}
