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
		nap
	done
}
nap() { sleep 0.1 2>/dev/null || sleep 1; } # POSIX knows whole seconds only

# clock prints seconds. Where there is /proc nobody can set it back.
clock() {
	up=
	{ read -r up _ <"${PROC:-/proc}/uptime"; } 2>/dev/null
	up=${up%%.*}
	echo "${up:-$(date +%s)}"
}

# settings puts the lines NAME=value of a file into the environment. A value with blanks stands in
# quotes; what follows it after a # is a comment. Nothing is run, and what is no such line is an error.
settings() { # file
	while IFS='' read -r line || [ -n "$line" ]; do
		name=${line%%=*} value=${line#*=} quote=''
		case $line in '' | '#'*) continue ;; esac
		case $name in "$line" | '' | [0-9]* | *[!A-Za-z0-9_]*) fail 6 "$1: want NAME=value and not: $line" ;; esac
		case $value in
		\"* | \'*)
			quote=${value%"${value#?}"} rest=${value#?}
			value=${rest%%"$quote"*}
			[ "$value" != "$rest" ] || fail 6 "$1: want another $quote at the end of: $line"
			rest=${rest#*"$quote"}
			;;
		*)
			rest=$value value=${value%%[[:blank:]]*}
			rest=${rest#"$value"}
			;;
		esac
		case ${rest#"${rest%%[![:blank:]]*}"} in
		'' | '#'*) ;;
		*) fail 6 "$1: put the value in quotes, one setting a line: $line" ;;
		esac
		case $quote$value in
		\'*) ;;
		*[\$\`\\]*) fail 6 "$1: nothing is put in for \$, \` or \\ here: write it out, or in ': $line" ;;
		esac
		export "$name=$value"
	done <"$1"
}
