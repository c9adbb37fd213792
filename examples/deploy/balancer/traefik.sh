# traefik.sh: release.sh's BALANCER for Traefik, whose file provider is told which of
# two colours gets the clients' requests. ROUTES is the truth about that; the other one
# is the standby, which PREVIEW reaches, and which is probed. It needs curl.
# shellcheck shell=sh

: "${NODES:=blue green}"
: "${METHOD:=colours}"
: "${ROUTES:=./conf.d/live.yml}"      # what Traefik reads; nobody else may write it
: "${PREVIEW:=http://127.0.0.1:8001}" # Traefik's entry point for the standby
: "${API:=http://127.0.0.1:8099}"     # Traefik's API

get() { curl -q -s -f -m 2 --noproxy '*' -A release.sh "$@"; }

balancer_settings() {
	[ "$METHOD" = colours ] || fail 6 "METHOD is $METHOD: for Traefik it is colours"
	writable "$ROUTES" || unwritten 6 "$ROUTES" "ROUTES is to be a file in the folder of Traefik's file provider"
	command -v curl >/dev/null || fail 6 "needs curl: install it"
	get -o /dev/null "$API/api/version" || fail 6 "Traefik does not answer at $API: start it, or set API to its API"
	[ ! -e "$ROUTES" ] || grep -q "standby:.*name: " "$ROUTES" ||
		fail 6 "$ROUTES does not say which colour is live: put back what was there, or remove it before a first release"
}

live() { sed -n 's/^ *app:.*name: *\([A-Za-z0-9._-]*\).*/\1/p' "$ROUTES" 2>/dev/null; }
other() { for node in $NODES; do [ "$node" = "$1" ] || printf '%s' "$node"; done; }

# target is what Traefik says of a service that it has in use.
target() {
	get "$API/api/http/services/$1@file" | sed -n 's/.*"weighted":{"services":\[{"name":"\([^"]*\).*/\1/p'
}
routed() { [ "$(target app)" = "$1" ] && [ "$(target standby)" = "$2" ]; }

# route writes by rename: Traefik reads the old file or the new one. The name in
# between has an ending that it does not read.
route() { # live, standby
	written "$ROUTES" printf '%s\n' '# release.sh takes this for the truth about which colour is live.' \
		'http:' '  services:' \
		${1:+"    app: {weighted: {services: [{name: $1, weight: 1}]}}"} \
		"    standby: {weighted: {services: [{name: $2, weight: 1}]}}" || unwritten 6 "$ROUTES"
	# Traefik watches the folder of ROUTES. What a link there leads to may lie elsewhere.
	[ ! -L "$ROUTES" ] || { ln -sfn "$(readlink "$ROUTES")" "$ROUTES.new" && mv -f "$ROUTES.new" "$ROUTES"; } ||
		unwritten 6 "$ROUTES"
	within "$BALANCER_TIMEOUT" routed "$1" "$2" ||
		fail 1 "$API does not say that it routes to ${1:-nothing}, $2 on standby, in $BALANCER_TIMEOUT s: see Traefik's log"
}

balancer_ready() { [ "$(live)" = "$1" ]; }
balancer_status() {
	case $1 in
	"$(target app)") echo live ;;
	"$(target standby)") echo standby ;;
	*) echo out ;;
	esac
}

# A standby is probed, and so its stop is soon noticed.
balancer_out() {
	live=$(live)
	[ "$live" != "$1" ] || live=''
	route "$live" "$1"
}
balancer_in() {
	standby=$(other "$1")
	route "$1" "${standby:-$1}"
}

# /livez and not /ping, because who asks that once is a prober that a stop would wait for.
balancer_try() {
	balancer_out "$1"
	within "$BALANCER_TIMEOUT" get -o /dev/null "$PREVIEW/livez" ||
		fail 1 "$1 is not reached at $PREVIEW: see Traefik's log"
}
