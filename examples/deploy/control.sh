#!/bin/sh
# control.sh: what an operator does to a service that has -pidfile, -control and -s, as those that use
# the package drainflag. It starts the service, watches over its PID file and its log, and puts a
# bound on what it waits for. The rest is the service's own -s, of the executable that runs.
#
#   start    runs BIN and waits until it is in charge and serves
#   stop     waits until the process is gone, its requests finished, and older
#            generations that still finish one. Once more goes on waiting.
#   restart  stop, then start (reload loses nothing and is quicker)
#   reload   waits until a new process of BIN is in charge, or the swap failed
#   pull     waits until the balancer's probers have noticed
#   restore  takes the pull back
#   status   says what is running
#
# Exit codes are those of LSB init scripts where LSB has one:
#   0    done (also: start when it runs already, stop when it does not run)
#   1    start: it exited, its last log lines follow; reload: the swap failed,
#        and the old process serves on, or nothing runs any more; stop: it is
#        gone, and had to cut something off; else: it refused
#   2    wrong usage                     4    not allowed to signal the process
#   5    BIN is not there                6    wrong or missing configuration
#   7    reload, pull, restore: not running
#   150  not done in time; stop, reload and pull may still come about
#   151  stop: not gone in time, so it was killed with -9 (KILL=1)
#   152  the PID file's process does not run BIN; nothing was asked of it
#   153  the process does not answer at CONTROL; nothing was asked of it
#   154  reload: a swap is under way already; nothing was asked of it
#   of status: 0 running, 1 dead but there is a PID file, 3 not running,
#        4 running but not answering
#
# Where nothing answers at CONTROL, stop sends TERM, once: PIDFILE.stop holds the pid that has had it.

: "${BIN:=./app}"                  # the program; it stays in the foreground
: "${ARGS:=}"                      # its flags but -pidfile and -control, split at blanks
: "${PIDFILE:=./app.pid}"
: "${CONTROL:=./app.sock}"         # its control socket
: "${LOG:=./app.log}"              # start appends the program's output to it
: "${START_TIMEOUT:=60}"           # seconds, all of them
: "${STOP_TIMEOUT:=75}"            # more than -pull-max and -drain-timeout
: "${RELOAD_TIMEOUT:=75}"          # more than -swap-timeout
: "${PULL_TIMEOUT:=40}"            # more than -pull-max
: "${RESTORE_TIMEOUT:=10}"
: "${KILL:=0}"                     # 1: kill -9 what has not stopped in time
: "${PROC:=/proc}"

# The old process and the new one are told apart from strangers by this path.
case $BIN in
/*) ;;
*) BIN=$PWD/${BIN#./} ;;
esac

who= # the service says of itself, last

say() { printf '%s\n' "${0##*/}: $*"; }
fail() { # code, message
	code=$1
	shift
	say "$@" >&2
	exit "$code"
}

# within waits until the command says that the matter is decided.
within() { # seconds, command
	end=$(($(date +%s) + $1))
	shift
	until "$@"; do
		[ "$(date +%s)" -le "$end" ] || return 1
		sleep 0.1 2>/dev/null || sleep 1 # POSIX knows whole seconds only
	done
}

# alive: a zombie is not, though kill -0 finds it.
alive() { # pid
	if [ -d "$PROC/self" ]; then
		stat=
		{ read -r stat <"$PROC/$1/stat"; } 2>/dev/null
		case ${stat##*) } in '' | [ZX]*) return 1 ;; esac
		return 0
	fi
	case $(ps -o stat= -p "$1" 2>/dev/null) in *Z*) return 1 ;; ?*) return 0 ;; esac
	kill -0 "$1" 2>/dev/null
}

# ours: by its executable, or by argv[0] after a deploy that moved the old
# executable aside or flipped a symlink. Where nobody tells, it is taken for ours.
ours() { # pid
	if [ -d "$PROC/self" ]; then
		exe=$(readlink "$PROC/$1/exe" 2>/dev/null)
		exe=${exe% (deleted)}
		args=$(tr '\0' '\n' 2>/dev/null <"$PROC/$1/cmdline" | sed q)
		[ "$exe" = "$BIN" ] || [ "$exe" = "$(readlink -f "$BIN")" ] || [ "$args" = "$BIN" ]
		return
	fi
	exe='' args=$(ps -o args= -p "$1" 2>/dev/null)
	case $args in '' | "$BIN" | "$BIN "*) return 0 ;; esac
	return 1
}

# look sets pid to the PID file's, and returns what status is to return.
look() {
	pid=
	[ -e "$PIDFILE" ] || return 3
	[ -r "$PIDFILE" ] || fail 4 "$PIDFILE cannot be read: run this as the user of the service"
	{ read -r pid <"$PIDFILE"; } 2>/dev/null
	case $pid in '' | 0* | *[!0-9]*) pid='' && return 1 ;; esac
	alive "$pid" || return 1
	ours "$pid" || return 152
}

need() {
	look
	case $? in
	0) ;;
	152) stranger ;;
	*) fail 7 "not running: $PIDFILE names no living process" ;;
	esac
	within 10 found || silent
}

silent() {
	fail 153 "pid $pid is running but does not answer at $CONTROL: set CONTROL to its -control${who:+ ($who)}"
}

stranger() {
	fail 152 "$PIDFILE names pid $pid, which runs ${exe:-$args} and not $BIN:" \
		"set BIN to what the service runs, or remove the PID file if it is left over"
}

signal() { # name
	kill -s "$1" "$pid" 2>/dev/null && return
	! alive "$pid" || fail 4 "not allowed to signal pid $pid: run this as the user of the service"
}

# ask: by the executable that runs, since that in BIN may be the next one, or broken.
ask() { # seconds, command
	asker=$BIN
	[ ! -x "$PROC/$pid/exe" ] || asker=$PROC/$pid/exe
	"$asker" -control "$CONTROL" -s "$2" 2>&1 &
	asking=$!
	# It may answer just as the time is over.
	if within "$1" answered || ! kill "$asking" 2>/dev/null; then
		wait "$asking"
	else
		return 150
	fi
}
answered() { ! alive "$asking"; }

# order returns when that is done; not in time: 150.
order() { # seconds, command
	said=$(ask "$1" "$2")
	case $? in
	0) ;;
	150) return 150 ;;
	*) fail 1 "$2 failed: $said" ;;
	esac
}

# found: the process of the PID file, and no other, answers.
found() { look && who=$(ask 10 status) && who=${who%%,\"listeners\"*} && [ "$(field pid)" = "$pid" ]; }
field() { printf '%s\n' "$who" | sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p"; }
tell() { printf '%s\n' "pid $pid, generation $(field generation), $(field phase)"; }

start() {
	look
	case $? in
	0)
		within "$START_TIMEOUT" found || silent
		say "running already: $(tell)"
		return
		;;
	1) say "$PIDFILE is left over from a process that is gone" ;;
	152) stranger ;;
	esac
	{ [ -f "$BIN" ] && [ -x "$BIN" ]; } || fail 5 "$BIN is no executable file: set BIN to the program"
	(: >>"$LOG") 2>/dev/null || fail 6 "cannot write to the log $LOG: set LOG to a file that you may write"
	rm -f "$PIDFILE.stop" # of a process that is gone
	from=$(($(wc -c <"$LOG") + 1))

	# In a session of its own it does not get the Ctrl-C meant for this script,
	# nor the HUP of a terminal that closes, which would be a swap.
	detach=''
	if command -v setsid >/dev/null; then detach='setsid'; fi
	(
		trap '' HUP
		set -f
		# shellcheck disable=SC2086 # ARGS is to be split
		exec $detach "$BIN" -pidfile "$PIDFILE" -control "$CONTROL" $ARGS >>"$LOG" 2>&1 </dev/null
	) &
	child=$!
	if ! within "$START_TIMEOUT" started; then
		pid=$child
		signal TERM
		within "$STOP_TIMEOUT" gone
		recent
		fail 150 "not ready after $START_TIMEOUT s: pid $child was told to stop"
	fi
	if [ -n "$rc" ]; then
		recent
		fail 1 "start failed: $BIN exited with code $rc"
	fi
	say "started: $(tell)"
}

started() {
	rc=''
	if ! alive "$child"; then
		wait "$child"
		rc=$?
		return 0
	fi
	found && [ "$pid" = "$child" ] && [ "$(field pulled)" = false ]
}

recent() { tail -c "+$from" "$LOG" | tail -n 10 >&2; }
gone() { ! alive "$pid"; }

stop() {
	look
	case $? in
	0) ;;
	152) stranger ;;
	*) say "not running" && return ;;
	esac
	first=$pid said=
	if found; then
		said=$(ask "$STOP_TIMEOUT" stop) # a second time it waits with the first
		result=$?
		[ "$result" = 150 ] || within 10 gone || fail 1 "stop failed: $said"
	else
		stop_by_signal
		result=$?
	fi
	if [ "$result" != 150 ]; then
		rm -f "$PIDFILE.stop"
		say "stopped: pid $first is gone${said:+, but: $said}"
		return "$result"
	fi
	[ "$KILL" = 1 ] || fail 150 "pid $pid is still there after $STOP_TIMEOUT s: see $LOG, wait," \
		"or run this with KILL=1 and lose what is in flight"
	ours "$pid" && signal KILL
	within 10 gone
	rm -f "$PIDFILE.stop"
	fail 151 "pid $pid was still there after $STOP_TIMEOUT s: killed"
}

stop_by_signal() {
	asked=
	{ read -r asked <"$PIDFILE.stop"; } 2>/dev/null
	if [ "$asked" = "$pid" ]; then # a second TERM means: leave now, whatever is in flight
		say "pid $pid has been told to stop before: waiting"
	else
		tell_to_stop
	fi
	within "$STOP_TIMEOUT" stopped || return 150
}

stopped() {
	alive "$pid" && return 1
	# A swap that was quicker than TERM has put another process in charge.
	look || return 0
	tell_to_stop
	return 1
}

tell_to_stop() {
	signal TERM
	(echo "$pid" >"$PIDFILE.stop") 2>/dev/null || say "cannot write $PIDFILE.stop: do not run stop twice" >&2
}

restart() {
	stop
	cut_off=$?
	start
	return "$cut_off"
}

reload() {
	need
	[ "$(field phase)" != swapping ] || fail 154 "a swap is under way already: try again when it is over"
	old=$pid
	order "$RELOAD_TIMEOUT" reload || fail 150 "no new process is in charge after $RELOAD_TIMEOUT s: see $LOG"
	within 10 moved || fail 1 "pid $old has handed over, and no other answers: see $LOG"
	say "reloaded: pid $old has handed over to $(tell)"
}
moved() { found && [ "$pid" != "$old" ]; }

pull() {
	need
	order "$PULL_TIMEOUT" pull || fail 150 "pulled, but not noticed by all probers after $PULL_TIMEOUT s: $(tell)"
	within 10 found || silent
	say "pulled, and noticed: $(tell)"
}

restore() {
	need
	order "$RESTORE_TIMEOUT" restore || fail 150 "not restored after $RESTORE_TIMEOUT s: see $LOG"
	within 10 found || silent
	say "restored: $(tell)"
}

status() {
	look
	case $? in
	0)
		within 10 found || fail 4 "pid $pid is running, but does not answer at $CONTROL"
		say "running: $(tell)"
		;;
	3) fail 3 "not running" ;;
	*) fail 1 "not running, but there is a PID file: $PIDFILE" ;;
	esac
}

case $#:${1-} in
1:start | 1:stop | 1:restart | 1:reload | 1:pull | 1:restore | 1:status) "$1" ;;
*) fail 2 "want one of start, stop, restart, reload, pull, restore, status" ;;
esac
