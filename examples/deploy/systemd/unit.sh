#!/bin/sh
# unit.sh: in control.sh's place for node.sh, where systemd runs the service. The node's settings say so by
# CONTROL_SH=/usr/local/lib/app/unit.sh. By hand: SITE=/etc/app NODE=app sh unit.sh status
#
#   start    systemctl start, also of a unit that systemd has given up
#   stop     systemctl stop: waits until the process is gone, its requests finished
#   restart  stop, start
#   swap     has BIN take over, by systemctl reload. Where the settings have changed, which a process that runs does
#            not hear of, or where nothing runs: restart. Nothing where BIN runs with these settings already
#   status   says what is running: pid, generation, phase, version
#   settle   the unit's ExecStartPre=: what systemd starts by itself, after a crash or a boot, was live and well
#            before. A new version that nobody waits for gives way to that. It writes BIN.env, the settings in
#            systemd's spelling, with which the process is started
#
# Exit codes are control.sh's:
#   0    done
#   1    start: it failed, its last log lines follow; swap: it failed, and the old process serves on
#   2    wrong usage                     3    status: not running
#   4    status: it does not answer      6    wrong or missing configuration
#   150  swap: the one that was under way is not over in time; nothing was asked of it
#   151  stop: not gone in time, so systemd killed it
#   155  stop: done, but the process has cut something off, or had an error
#
# It is for root. It needs systemd 252 or newer, cmp (diffutils), timeout (coreutils).
# shellcheck disable=SC2154 # what the scripts that it sources set

: "${UNIT:=app}"             # its name
: "${RELOAD_TIMEOUT:=120}"   # seconds to wait for a swap that is under way: more than the unit's TimeoutStartSec
: "${SITE:=./site}"          # as node.sh has it
: "${NODE:=}"                # likewise

here=${0%/*}
[ "$here" != "$0" ] || here=.
[ -e "$here/common.sh" ] || here=$here/..
# shellcheck source=/dev/null
. "$here/common.sh"
# shellcheck source=/dev/null
. "$here/releases.sh"

show() { systemctl show "$UNIT" --value -p "$1"; }

# is_over: a second reload would be told the outcome of the first one, which may be of another file.
is_over() {
	state=$(show ActiveState)
	case $state in reloading | deactivating) return 1 ;; esac
}

# ask sets said to what the main process says of itself, as that process's own executable puts it.
ask() {
	pid=$(show MainPID)
	[ "${pid:-0}" != 0 ] && said=$(timeout 10 "/proc/$pid/exe" -s status -control "$CONTROL" 2>&1) &&
		field pid "$said" && [ "$value" = "$pid" ]
}

# settles: without the drop-in nothing reads the settings, nor keeps what never was live from being started.
settles() {
	case $(show EnvironmentFiles) in
	*"$BIN.env "*) ;;
	*) fail 6 "$UNIT does not read $BIN.env: install releases.conf" ;;
	esac
}

# readable: the service runs as another user, whatever root's umask is.
readable() {
	current
	chmod a+rx "$folder" "$folder/$current" "$(readlink -f "$BIN")" 2>/dev/null || :
}

# started says whether what runs is BIN.
started() {
	within 10 ask || fail 1 "pid $pid does not answer at $CONTROL: set CONTROL to the unit's -control"
	cmp -s "/proc/$pid/exe" "$BIN" || fail 1 "pid $pid does not run $BIN: set UNIT to the unit whose ExecStart= is $BIN"
	describe "$1" "$said"
}

# begin has systemd start BIN, and settle leave it, as long as this waits for the outcome.
begin() { # start or restart
	settles
	readable
	spell
	since=$(date +%s)
	written "$trying" printf '%s %s\n' $$ "$current" || unwritten 6 "$trying" "be root"
	trap 'rm -f "$trying"' EXIT
	systemctl reset-failed "$UNIT" 2>/dev/null # it may have been given up, or never have been loaded
	if ! systemctl "$1" "$UNIT"; then
		systemctl stop "$UNIT" # it would go on trying
		journalctl -q --no-pager -o cat -u "$UNIT" --since "@$since" -n 15 >&2
		fail 1 "start failed: systemctl status $UNIT and journalctl -u $UNIT say more"
	fi
	started started
}

start() {
	if [ "$(show ActiveState)" = active ]; then
		started "running already"
	else
		begin start
	fi
}

stop() {
	# Its last result is that of an earlier run where nothing runs that could be cut off.
	ran=$(show MainPID)
	systemctl stop "$UNIT" || fail 1 "stop failed: see systemctl status $UNIT"
	how=$(show Result)
	[ "${ran:-0}" != 0 ] || how=success
	case $how in
	success) say stopped ;;
	timeout | signal | core-dump | watchdog) fail 151 "stopped, but it was killed ($how): see journalctl -u $UNIT" ;;
	*) fail 155 "stopped, but it has cut something off, or had an error ($how): see journalctl -u $UNIT" ;;
	esac
}

restart() {
	case $(show ActiveState) in
	active) ;;
	*) begin restart && return ;; # also where systemd tries again and again: its sockets stay
	esac
	(stop)
	code=$?
	case $code in 0 | 151 | 155) begin start ;; esac
	return "$code"
}

swap() {
	within "$RELOAD_TIMEOUT" is_over || fail 150 "$UNIT is in the middle of something: see systemctl status $UNIT"
	current
	wanted=$(environment) || exit
	if [ "$state" != active ] || [ "$wanted" != "$(cat "$BIN.env" 2>/dev/null)" ]; then
		restart
		return
	fi
	if ask && cmp -s "/proc/$pid/exe" "$BIN"; then
		describe "running already" "$said"
		return
	fi
	old=$pid
	settles
	readable
	systemctl reload "$UNIT" || fail 1 "reload failed, pid $old serves on: $(show StatusText)"
	started "reloaded, pid $old has handed over"
}

status() {
	if ask; then
		describe running "$said"
		return
	fi
	case $(show ActiveState):$(show SubState) in
	inactive:* | failed:* | *:auto-restart*) fail 3 "not running: $(show SubState), after $(show NRestarts) restarts" ;;
	esac
	fail 4 "pid $pid is running, but does not answer at $CONTROL"
}

# environment prints the settings of the release and the node.
environment() (
	for name in $(env | sed -n 's/^\(APP_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
	[ ! -s "$folder/$current/env" ] || settings "$folder/$current/env"
	[ -z "$NODE" ] || settings "$SITE/$NODE"
	env | sed -n '/^APP_/{s/[\\"$`]/\\&/g; s/=\(.*\)/="\1"/p;}' | sort
)

settle() {
	current
	lately
	name=$current to=${lately%% *} who=''
	{ read -r who what <"$trying"; } 2>/dev/null
	case $name:" $lately" in
	:* | *:" " | *" $name "*) ;;
	*)
		if [ -z "$who" ] || [ "$what" != "$name" ] || ! alive "$who"; then
			link "$to"
			noted "settled $to, since $name never was live"
			say "$name never was live and well, so $to is started"
		fi
		;;
	esac
	spell
}

# spell writes the settings in systemd's spelling, where they are not there already.
spell() {
	current
	spelt=$(environment) || exit
	if [ -e "$BIN.env" ] && [ "$spelt" = "$(cat "$BIN.env")" ]; then return; fi
	(umask 077 && written "$BIN.env" printf '%s\n' "$spelt") ||
		unwritten 6 "$BIN.env" "$UNIT would run with other settings than those of $current"
}

[ -z "$NODE" ] || settings "$SITE/$NODE"
right_numbers "$0"
for name in BIN CONTROL; do
	eval "[ -n \"\${$name-}\" ]" ||
		fail 6 "$name is not set: set SITE and NODE, so that SITE/NODE is the file that sets it"
done
command -v systemctl >/dev/null || fail 6 "needs systemctl"
folder=$BIN.releases
trying=/run/$UNIT.trying # gone after a boot
pid=''
case $#:${1-} in
1:start | 1:stop | 1:restart | 1:swap | 1:status | 1:settle) "$1" ;;
*) fail 2 "want one of start, stop, restart, swap, status, settle" ;;
esac
