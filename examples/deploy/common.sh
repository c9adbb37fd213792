# common.sh: what the scripts of this folder share. They source it from their own folder.
# shellcheck shell=sh

say() { printf '%s\n' "${0##*/}: $*"; }
fail() { # code, message
	code=$1
	shift
	say "$@" >&2
	exit "$code"
}

# within waits until the command succeeds.
within() { # seconds, command
	end=$(($(clock) + $1))
	shift
	until "$@"; do
		[ "$(clock)" -le "$end" ] || return 1
		sleep 0.1 2>/dev/null || sleep 1 # POSIX knows whole seconds only
	done
}

# clock prints seconds. Where there is /proc nobody can set it back.
clock() {
	up=
	{ read -r up _ <"${PROC:-/proc}/uptime"; } 2>/dev/null
	up=${up%%.*}
	echo "${up:-$(date +%s)}"
}
