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
#   swap     for node.sh: reload, and restart where the settings have changed (APP_…), which a process that runs does
#            not hear of. Start where nothing runs, and nothing where BIN runs with these settings already
#   pull     waits until the balancer's probers have noticed
#   restore  takes the pull back
#   status   says what is running
#
# Exit codes are those of LSB init scripts where LSB has one:
#   0    done (also: start when it runs already, stop when it does not run)
#   1    start: it exited, its last log lines follow; reload, swap: the swap failed,
#        and the old process serves on, or nothing runs any more; else: it refused
#   2    wrong usage                     4    not allowed to signal the process
#   5    BIN is not there                6    wrong or missing configuration
#   7    reload, pull, restore: not running
#   150  not done in time; stop, reload and pull may still come about
#   151  stop, restart: not gone in time, so it was killed with -9 (KILL=1)
#   152  the PID file's process does not run BIN; nothing was asked of it
#   153  the process does not answer at CONTROL; nothing was asked of it
#   154  reload: a swap is under way already; nothing was asked of it
#   155  stop, restart: done, but the process has cut something off, or had an error
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

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=/dev/null
. "$here/common.sh"
right_numbers "$0"

# The old process and the new one are told apart from strangers by this path.
case $BIN in
/*) ;;
*) BIN=$PWD/${BIN#./} ;;
esac
who= # the service says of itself, last

gone() { ! alive "$pid"; }

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
stranger() {
	fail 152 "$PIDFILE names pid $pid, which runs ${exe:-$args} and not $BIN:" \
		"set BIN to what the service runs, or remove the PID file if it is left over"
}
silent() {
	fail 153 "pid $pid is running but does not answer at $CONTROL: set CONTROL to its -control${who:+ ($who)}"
}

signal() { # name
	kill -s "$1" "$pid" 2>/dev/null || gone ||
		fail 4 "not allowed to signal pid $pid: run this as the user of the service"
}

# ask returns the command's exit code, or 150. It is asked by the executable that runs, since
# that in BIN may be the next one, or broken.
ask() { # seconds, command
	asker=$BIN
	[ ! -x "$PROC/$pid/exe" ] || asker=$PROC/$pid/exe
	"$asker" -control "$CONTROL" -s "$2" 2>&1 &
	asking=$!
	# It may answer just as the time is over.
	if within "$1" answered || ! kill "$asking" 2>/dev/null; then wait "$asking"; else return 150; fi
}
answered() { ! alive "$asking"; }

# found: the process of the PID file, and no other, answers.
# shellcheck disable=SC2154 # field sets value
found() { look && who=$(ask 10 status) && who=${who%%,\"listeners\"*} && field pid "$who" && [ "$value" = "$pid" ]; }

start() {
	look
	case $? in
	0)
		within "$START_TIMEOUT" found || silent
		describe "running already" "$who"
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
	if within "$START_TIMEOUT" started && [ -z "$rc" ]; then
		describe started "$who"
		return
	fi
	pid=$child
	if [ -z "$rc" ]; then
		signal TERM
		within "$STOP_TIMEOUT" gone
	fi
	tail -c "+$from" "$LOG" | tail -n 10 >&2
	[ -z "$rc" ] || fail 1 "start failed: $BIN exited with code $rc"
	fail 150 "not ready after $START_TIMEOUT s: pid $child was told to stop"
}
# mine: what was started is in charge, or stays in front of that.
mine() {
	[ "$pid" = "$child" ] && return
	if [ -d "$PROC/self" ]; then
		{ read -r stat <"$PROC/$pid/stat"; } 2>/dev/null
		stat=${stat##*) } stat=${stat#* }
		[ "${stat%% *}" = "$child" ]
	else
		[ "$(ps -o ppid= -p "$pid" | tr -d ' ')" = "$child" ]
	fi
}
started() {
	rc=''
	# It looks like a zombie for a moment, when a thread of it makes it the keeper by execve(2).
	if ! alive "$child" && nap && ! alive "$child"; then
		wait "$child"
		rc=$?
		return 0
	fi
	found && mine && field pulled "$who" && [ "$value" = false ]
}

stop() {
	look
	case $? in
	0) ;;
	152) stranger ;;
	*) say "not running" && return ;;
	esac
	first=$pid said='' result=0
	if found; then
		said=$(ask "$STOP_TIMEOUT" stop) || result=$? # a second time it waits with the first
		[ "$result" = 150 ] || within 10 gone || fail 1 "stop failed: $said"
	else
		{ read -r told <"$PIDFILE.stop"; } 2>/dev/null
		if [ "${told-}" = "$pid" ]; then # a second TERM means: leave now, whatever is in flight
			say "pid $pid has been told to stop before: waiting"
		else
			signal TERM
			(echo "$pid" >"$PIDFILE.stop") 2>/dev/null || say "cannot write $PIDFILE.stop: do not run stop twice" >&2
		fi
		# A swap that was quicker than TERM has put another process in charge.
		within "$STOP_TIMEOUT" gone && ! look || result=150
	fi
	if [ "$result" = 150 ]; then
		[ "$KILL" = 1 ] || fail 150 "pid $pid is still there after $STOP_TIMEOUT s: see $LOG, wait," \
			"or run this with KILL=1 and lose what is in flight"
		ours "$pid" && signal KILL
		within 10 gone
	fi
	rm -f "$PIDFILE.stop"
	[ "$result" != 150 ] || { say "pid $pid was still there after $STOP_TIMEOUT s: killed" >&2 && return 151; }
	say "stopped: pid $first is gone${said:+, but: $said}"
	[ "$result" = 0 ] || result=155
	return "$result"
}

restart() {
	stop
	cut_off=$?
	start
	return "$cut_off"
}

# order has the process do it, and returns when it is done and that, or another one, answers.
order() { # seconds, command, what it is to be then, words for when it is late
	look
	case $? in
	0) ;;
	152) stranger ;;
	*) fail 7 "not running: $PIDFILE names no living process" ;;
	esac
	within 10 found || silent
	field phase "$who"
	[ "$2:$value" != reload:swapping ] ||
		fail 154 "a swap is under way already: try again when it is over"
	old=$pid
	said=$(ask "$1" "$2")
	case $? in
	0) ;;
	150) fail 150 "$4 after $1 s: see $LOG" ;;
	*) fail 1 "$2 failed: $said" ;;
	esac
	within 10 "$3" || fail 1 "pid $old has done it, but no process answers: see $LOG"
}
moved() { found && [ "$pid" != "$old" ]; }
reload() {
	order "$RELOAD_TIMEOUT" reload moved "no new process is in charge"
	describe reloaded "$who" "pid $old has handed over to "
}
swap() {
	look
	case $? in
	0) ;;
	152) stranger ;;
	*) start && return ;;
	esac
	# A line that both have is there twice.
	changed=$({ tr '\0' '\n' <"$PROC/$pid/environ"; env; } 2>/dev/null |
		awk '/^APP_/ { n[$0]++ } END { for (line in n) if (n[line] == 1) print line }')
	if [ ! -e "$PROC/$pid/exe" ] || [ -n "$changed" ]; then
		restart
	elif alike "$PROC/$pid/exe" "$BIN"; then
		start # running already
	else
		reload
	fi
}
pull() {
	order "$PULL_TIMEOUT" pull found "pulled, but not noticed by all probers"
	describe "pulled, and noticed" "$who"
}
restore() {
	order "$RESTORE_TIMEOUT" restore found "not restored"
	describe restored "$who"
}

status() {
	look
	case $? in
	0)
		within 10 found || fail 4 "pid $pid is running, but does not answer at $CONTROL"
		describe running "$who"
		;;
	3) fail 3 "not running" ;;
	*) fail 1 "not running, but there is a PID file: $PIDFILE" ;;
	esac
}

case $#:${1-} in
1:start | 1:stop | 1:restart | 1:reload | 1:swap | 1:pull | 1:restore | 1:status) "$1" ;;
*) fail 2 "want one of start, stop, restart, reload, swap, pull, restore, status" ;;
esac
