# common.sh: what the scripts of this folder share. They source it from their own folder.
# shellcheck shell=sh

: "${PROC:=/proc}"

# A reader that is gone, as after a lost ssh, is no reason to die in the middle of a step.
trap : PIPE
say() { printf '%s\n' "${0##*/}: $*" 2>/dev/null || :; }
fail() { # code, message
	code=$1
	shift
	say "$@" >&2
	exit "$code"
}

# within waits until the command succeeds.
within() { # seconds, command
	clock
	end=$((seconds + $1))
	shift
	until "$@"; do
		clock
		[ "$seconds" -le "$end" ] || return 1
		nap
	done
}
nap() { sleep 0.1 2>/dev/null || sleep 1; } # POSIX knows whole seconds only

# clock sets seconds. Where there is /proc nobody can set it back.
clock() {
	seconds=
	{ read -r seconds _ <"$PROC/uptime"; } 2>/dev/null
	seconds=${seconds%%.*}
	: "${seconds:=$(date +%s)}"
}

# written puts what a command prints into a file, whole or not at all: by rename, and a link stays one. What fails
# leaves what was there, and nothing beside it; whatever signal comes, it ends.
written() ( # file, command
	trap '' HUP INT TERM
	at_end_of "$1" && file=$target half=$target.new.$$ || exit
	shift
	trap '[ ! -e "$half" ] || rm -f "$half"' EXIT
	{ [ ! -e "$file" ] || cp -p "$file" "$half"; } && "$@" >"$half" && mv -f "$half" "$file"
)
# writable: written would do, for as much as these files have. It leaves nothing there.
writable() ( # file, maybe files
	at_end_of "$1" && half=$target.try.$$ || exit
	shift
	trap 'rm -f "$half"' EXIT
	{ echo && { [ $# = 0 ] || cat "$@"; }; } >"$half"
) 2>/dev/null
at_end_of() { # file; it sets target
	target=$1
	[ ! -L "$1" ] || target=$(readlink -f "$1")
	[ -n "$target" ] && [ ! -d "$target" ]
}
# appendable: more can be written at its end, if it is there. A shell would end where exec or : can't write.
appendable() { [ ! -e "$1" ] || (: >>"$1") 2>/dev/null; }
unwritten() { # code, file, maybe more words
	fail "$1" "${NODE:+$NODE: }cannot write $2: make room there, or make it writable${3:+; $3}"
}
# listed: it is one of the lines.
listed() { # lines, line
	case "
$1
" in *"
$2
"*) ;; *) return 1 ;; esac
}
# nearest prints the folder, or that in which mkdir -p would begin.
nearest() { # folder
	near=$1
	until [ -e "$near" ]; do near=$(dirname "$near"); done
	printf '%s' "$near"
}
sum() { # file; it sets sum
	sum=$(cksum <"$1") && sum=${sum%% *}:${sum##* } || sum=''
}
now() { exec date -u +%Y-%m-%dT%H:%M:%SZ; } # for $(now) alone
# alike: a file of two names need not be read.
# shellcheck disable=SC3013 # POSIX has -ef since 2024
alike() { [ "$1" -ef "$2" ] || cmp -s "$1" "$2"; }

# alive: another user's process is, though kill -0 may not touch it. A zombie is not, though kill -0 finds it.
alive() { # pid
	stat=
	if [ -d "$PROC/self" ]; then
		{ read -r stat <"$PROC/$1/stat"; } 2>/dev/null
	else
		stat=$(ps -o stat= -p "$1" 2>/dev/null)
	fi
	case ${stat##*) } in '' | [ZX]*) return 1 ;; esac
}

# ours: the process runs BIN, by its executable, or by argv[0] after a deploy that moved the old
# executable aside or flipped a link. It sets exe and args.
ours() { # pid
	exe=''
	if [ -d "$PROC/self" ]; then
		args=$(tr '\0' ' ' 2>/dev/null <"$PROC/$1/cmdline")
	else
		args=$(ps -o args= -p "$1" 2>/dev/null)
	fi
	case "$args " in "$BIN "*) return ;; esac
	exe=$(readlink "$PROC/$1/exe" 2>/dev/null)
	[ -n "$exe" ] || return 1
	case ${exe% (deleted)} in "$BIN" | "$(readlink -f "$BIN")") ;; *) return 1 ;; esac
}

# field sets value to a field of an answer to "status". What follows "listeners" in it has fields of the same names.
field() { # its name, the answer
	value=${2%%,\"listeners\"*}
	case $value in *"\"$1\":"*) ;; *) value='' ;; esac
	value=${value##*"\"$1\":"} value=${value#\"}
	value=${value%%[,\"\}]*}
}

# describe says which process has answered.
describe() { # words, the answer to "status", maybe more words
	field pid "$2" && set -- "$2" "$1: ${3-}pid $value"
	field generation "$1" && set -- "$1" "$2, generation $value"
	field phase "$1" && set -- "$1" "$2, $value"
	field version "$1"
	say "$2${value:+, version $value}"
}

# settings puts the lines NAME=value of a file into the environment. A value with blanks stands in
# quotes; what follows it after a # is a comment. Nothing is run, and what is no such line is an error.
# shellcheck disable=SC2094 # its name is for errors
settings() { # file
	while IFS='' read -r line || [ -n "$line" ]; do
		setting "$1" "$line"
	done <"$1"
}

setting() { # where it stands, line
	name=${2%%=*} value=${2#*=} quote=''
	case $2 in '' | '#'*) return ;; esac
	case $name in "$2" | '' | [0-9]* | *[!A-Za-z0-9_]*) fail 6 "$1: want NAME=value and not: $2" ;; esac
	case $value in
	\"* | \'*)
		quote=${value%"${value#?}"} rest=${value#?}
		value=${rest%%"$quote"*}
		[ "$value" != "$rest" ] || fail 6 "$1: want another $quote at the end of: $2"
		rest=${rest#*"$quote"}
		;;
	*)
		rest=$value value=${value%%[[:blank:]]*}
		rest=${rest#"$value"}
		;;
	esac
	case ${rest#"${rest%%[![:blank:]]*}"} in
	'' | '#'*) ;;
	*) fail 6 "$1: put the value in quotes, one setting a line: $2" ;;
	esac
	case $quote$value in
	\'*) ;;
	*[\$\`\\]*) fail 6 "$1: nothing is put in for \$, \` or \\ here: write it out, or in ': $2" ;;
	esac
	export "$name=$value"
}

# declared is the settings of scripts: what they declare by lines : "${NAME:=…}", with a = at the end of one that is a
# number by default.
declared() { # scripts
	declared=$(sed -n -e 's/^: "\${\([A-Z_]*\):=[0-9][0-9]*}.*/\1=/p' -e t -e 's/^: "\${\([A-Z_0-9]*\):.*/\1/p' \
		"$@" 2>/dev/null)
}

number() { # name, value, highest, maybe of what
	case $2 in '' | 0* | *[!0-9]*) ;; *) [ "${#2}" -gt 9 ] || [ "$2" -gt "$3" ] || return 0 ;; esac
	fail 6 "$1 is \"$2\": want a number ${4-}from 1 to $3"
}

# right_numbers fails where a setting of the scripts is none, and they have a number for it by default.
right_numbers() { # scripts
	declared "$@"
	for name in $declared; do
		case $name in *=) name=${name%=} ;; *) continue ;; esac
		eval "value=\${$name-}"
		case $name:$value in
		*: | KILL:[01]) ;;
		KILL:*) fail 6 "KILL is \"$value\": want 0 or 1" ;;
		TIMEOUT:* | *_TIMEOUT:* | INTERVAL:*) number "$name" "$value" 86400 "of seconds " ;;
		PORT:* | HEARTBEAT:*) number "$name" "$value" 65535 ;;
		WEIGHT:*) number WEIGHT "$value" 100 ;;
		*) number "$name" "$value" 9999 ;;
		esac
	done
}

# load_balancer defines what the file BALANCER has, and makes its path of one of the names of those that are here.
balancers="haproxy, nginx, keepalived, traefik, or a file of yours"
# shellcheck disable=SC2154,SC2034,SC2317 # the script's folder; what the file sets is for the script
load_balancer() {
	case $BALANCER in */*) ;; *) BALANCER=$here/balancer/$BALANCER.sh ;; esac
	[ -r "$BALANCER" ] || fail 6 "$BALANCER cannot be read: set BALANCER to $balancers"
	sh -n "$BALANCER" || fail 6 "$BALANCER is no shell script"
	balancer_weights='' balancer_probes=''
	# shellcheck source=/dev/null
	. "$BALANCER"
	for name in settings in ready status out; do
		[ "$name:$balancer_probes" = out:yes ] || command -v "balancer_$name" >/dev/null ||
			fail 6 "$BALANCER does not define balancer_$name"
	done
	command -v balancer_none >/dev/null || balancer_none() { ! balancer_ready "$1"; }
}

# known fails where the file sets what none of the scripts declares. What begins with APP_ is the service's, and
# what OWN names is for commands of yours.
known() { # file, scripts beside those that are declared
	file=$1
	shift
	while IFS='' read -r line || [ -n "$line" ]; do
		name=${line%%=*}
		case $name in '' | '#'* | APP_*) continue ;; esac
		case " OWN ${OWN-} " in *" $name "*) continue ;; esac
		listed "$declared" "$name" || listed "$declared" "$name=" || grep -q -s "^: \"\${$name:" /dev/null "$@" ||
			fail 6 "$file: nobody knows $name: mend it, or name it in OWN=\"…\" if it is for a command of yours"
	done <"$file"
}

# answers: what does not run, or is not there, is told from an engine that does not say.
# shellcheck disable=SC2153 # the script's setting
answers() {
	"$DOCKER" version >/dev/null ||
		fail 6 "the engine does not answer: start it, be a user who may ask it, or set DOCKER"
}

# ended_well: what a stop had to cut off is an exit code.
ended_well() { # container
	code=$("$DOCKER" inspect -f '{{.State.ExitCode}}' "$1") || exit 1
	[ "$code" = 0 ] || fail 155 "${NODE:-$1} has stopped with exit code $code: see docker logs $1"
}

# runnable: the command is there, and so is the script that a shell is to run, whose settings are right.
runnable() { # name of the setting, its value
	setting=$1 whole=$2
	set -f
	# shellcheck disable=SC2086 # a command and its arguments
	set -- $2
	set +f
	while :; do
		case ${1-} in
		'') return ;;
		env | busybox | *=*) shift && continue ;;
		esac
		break
	done
	command -v "$1" >/dev/null || fail 6 "$setting is \"$whole\": there is no such command: $1"
	case ${1##*/} in
	sh | dash | bash | ksh | ash)
		shift
		case ${1-} in -* | '') return ;; esac
		[ -r "$1" ] || fail 6 "$setting is \"$whole\": there is no such script: $1"
		;;
	esac
	case $1 in *.sh) right_numbers "$1" && required "$1" ;; esac # it would fail when it is too late
}

# required fails where a script wants a setting by a line : "${NAME:?…}" and there is none. A node has its own of two.
required() { # script
	# shellcheck disable=SC2013 # a name has no blanks
	for name in $(sed -n 's/^: "\${\([A-Z_]*\):?.*/\1/p' "$1"); do
		case $name in NODE | URL) continue ;; esac
		eval "[ -n \"\${$name-}\" ]" || fail 6 "$setting is \"$whole\", which wants $name: set it"
	done
}
