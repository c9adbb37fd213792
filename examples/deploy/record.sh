# record.sh: what release.sh remembers, whom it keeps away, and how it reaches a node. Release.sh sources it.
# shellcheck shell=sh disable=SC2154,SC2034

# word is what a remote shell leaves as it is.
word() {
	case $1 in
	*[!A-Za-z0-9._,/:@+-]*) printf '%s' "$1" | tr -c 'A-Za-z0-9._,/:@+-' _ ;;
	*) printf '%s' "$1" ;;
	esac
}
who=$(word "${SUDO_USER:-$(id -un)}@$(uname -n)")

# at_node runs a step at a node. Where that is another machine, what is set here goes along, before the binary.
# A terminal that hangs up tells all its processes, and ends none of the steps. Where ON ends, the step has: what
# ssh leaves running, as the master of a shared connection, does not have the lock.
at_node() ( # verb, node, arguments
	trap '' HUP
	if [ -z "$ON" ]; then
		# shellcheck disable=SC2086 # a command and its arguments
		exec ${AT_NODE:-sh "$here/node.sh"} "$@"
	fi
	# shellcheck disable=SC2086 # commands and their arguments
	{ carried && { [ "$1" != put ] || cat; }; } 2>/dev/null | $ON "$2" ${AT_NODE:-sh "$here/node.sh"} -s "$@" 9>&-
)
carried() {
	for name in CHECK EMPTY_TIMEOUT STEP_TIMEOUT KEEP START_TIMEOUT STOP_TIMEOUT RELOAD_TIMEOUT KILL; do
		eval "[ -z \"\${$name:-}\" ] || printf \"%s='%s'\\n\" $name \"\$$name\""
	done
	# Unlike sed, grep ends the last line, too: an empty one has to follow.
	[ -z "$SETTINGS" ] || { echo SETTINGS=carried && { grep '^APP_' "$SETTINGS" || :; }; }
	echo
}

# The journal is what has happened; its last word on a node is where that is: taken (in the middle of its
# turn), new, old, or changed (by somebody else). The shell reads it by itself, since a Ctrl-C ends what it would run.
note() {
	at=$(now)
	printf '%s %s\n' "${at:--}" "$*" >>"$STATE/journal" || unwritten 4 "$STATE/journal" "then continue or rollback"
	say "$*"
}
noted() { # words
	while read -r _ line; do
		[ "$line" != "$*" ] || return 0
	done 2>/dev/null <"$STATE/journal"
	return 1
}
last() { # node; it sets where
	where=
	while read -r _ what whose more; do
		case $what:$whose:$more in "taken:$1:" | "new:$1:" | "old:$1:" | "changed:$1:") where=$what ;; esac
	done <"$STATE/journal"
}
is_at() { # node, word
	last "$1"
	[ "$where" = "$2" ]
}
under_way() { # or the last word is one of the end
	[ -e "$STATE/journal" ] || return
	while read -r _ line; do end=$line; done <"$STATE/journal"
	case $end in complete | "rolled back") return 1 ;; esac
}

# history is of all releases: who, when, what, from and to which versions, and how it ended.
history() { printf '%s %s %s\n' "$(now)" "$who" "$*" >>"$STATE/history"; }
versions() {
	for node in $NODES; do
		shown=$(at_node show "$node" </dev/null 2>/dev/null)
		version=${shown#version }
		[ "$version" != "$shown" ] || version='does not run'
		printf ' %s: %s;' "$node" "${version%% pid *}"
	done
}
ended() { # exit code
	trap '' HUP INT TERM
	under_way
	history "$verb ended with $1, $end;$(versions)" || say "cannot write $STATE/history" >&2
}

# A killed release leaves its last step running, which has inherited the lock.
lock() {
	{ writable "$(nearest "$STATE")/key" && appendable "$STATE/lock" && appendable "$STATE/journal"; } ||
		fail 6 "cannot write to $STATE: make room there, or set STATE to a folder that you may write; nothing was touched"
	if [ -n "$dry" ]; then
		! runs || fail 7 "a release runs already: $by"
		return
	fi
	mkdir -p "$STATE" || fail 6 "cannot make $STATE: nothing was touched"
	exec 9>>"$STATE/lock"
	if ! flock -n 9; then
		held && fail 7 "a release runs already: $by"
		say "the last step of a release that was interrupted still runs: waiting for it"
		within "$STEP_TIMEOUT" flock -n 9 ||
			fail 7 "a step of the release of $by, which is gone, is not over after $STEP_TIMEOUT s"
	fi
	printf '%s\n' $$ "$verb by $who, since $(now)" >"$STATE/lock" ||
		fail 6 "cannot write $STATE/lock: nothing was touched"
	# A full disk may have cut the last line short. The next one must not become a part of it.
	[ ! -s "$STATE/journal" ] || [ -z "$(tail -c 1 "$STATE/journal")" ] || echo ' (cut short)' >>"$STATE/journal" ||
		fail 6 "cannot write $STATE/journal: nothing was touched"
}
runs() { # somebody has the lock, and lives
	[ -e "$STATE/lock" ] && ! (exec 9<"$STATE/lock" && flock -n 9) && held
}
# held: the one that has the lock lives. It sets by to who that is.
held() {
	holder='' by=''
	{ read -r holder && read -r by; } <"$STATE/lock" 2>/dev/null
	by="pid $holder, $by"
	[ -n "$holder" ] && alive "$holder"
}

# Another STATE, or another machine, may have the same nodes. The key is the STATE's own, whatever the names of its
# machine and its folder are, and so is the list of nodes that may be claimed. A dry run asks whether they can be.
claim() {
	[ -n "$dry" ] || [ -s "$STATE/key" ] || written "$STATE/key" word "$(uname -n):$(cd "$STATE" && pwd):$(now)-$$"
	claimed
	[ -n "$dry$key" ] || unclaimed 6 "cannot write $STATE/key: nothing was touched"
	for node in $NODES; do
		case " $list " in *" $node "*) ;; *) list="$list $node" ;; esac
	done
	[ -n "$dry" ] || written "$STATE/claimed" printf '%s\n' "$list" ||
		unwritten 6 "$STATE/claimed" "nothing was touched"
	for node in $NODES; do
		at_node "claim${dry:+able}" "$node" "${key:-none}" "$(word "$verb,by,$who,since,$(now)")"
		case $? in
		0) ;;
		7) unclaimed 7 "nothing was touched" ;;
		6) unclaimed 6 "$node cannot be claimed: mend what it says; nothing was touched" ;;
		*) [ "$verb" = rollback ] || unclaimed 6 "$node cannot be claimed: nothing was touched" ;;
		esac
	done
}
claimed() { # it sets key, and list to the nodes
	key='' list=''
	{ read -r key <"$STATE/key"; read -r list <"$STATE/claimed"; } 2>/dev/null
}
unclaimed() { # code, message
	[ -n "$dry" ] || under_way || free
	go_on
	fail "$@"
}
free() {
	claimed
	left=
	for node in $list; do
		at_node free "$node" "$key" || {
			left="$left $node"
			say "$node is claimed still, which no other release may ignore: the next word to this STATE tries to free it again"
		}
	done
	# What can't be written still has the names of all.
	[ ! -e "$STATE/claimed" ] || written "$STATE/claimed" printf '%s\n' "$left"
}

# plan is what the release began with, whatever the settings are now. CHECK may be another one now. GATE and
# BALANCER may be, too, and have to be set, since they have settings of their own.
plan() {
	[ -e "$STATE/journal" ] || fail 6 "$STATE has no release: set STATE to the folder of the release"
	read -r _ _ ID _ <"$STATE/journal"
	begun=$STATE/begun/$ID SETTINGS=''
	while IFS='' read -r line; do
		value=${line#*=}
		case $line in
		NODES=*) NODES=$value ;;
		SHARE=*) SHARE=$value ;;
		WEIGHT=*) WEIGHT=$value ;;
		METHOD=*) METHOD=$value ;;
		PAUSE=*) PAUSE=$value ;;
		VERSION=*) VERSION=$value ;;
		CHECK=*) [ -n "${CHECK-}" ] || CHECK=$value ;;
		GATE=*) GATE_then=$value ;;
		BALANCER=*) BALANCER_then=$value ;;
		esac
	done <"$begun/plan" || fail 6 "$begun/plan cannot be read: set STATE to the folder of the release"
	[ ! -e "$begun/settings" ] || SETTINGS=$begun/settings
	export VERSION CHECK SETTINGS
	sum "$begun/new"
	LABEL=${VERSION:+$(word "$VERSION" | tr / _)} SUM=$sum
	new=${NODES%% *} live=${NODES#"$new"} live=${live# } # for colours
}

# has_yet fails where a setting that the release began with is not set now.
has_yet() { # name, its value then, now
	[ -z "$2" ] || [ -n "$3" ] || fail 6 "set $1: the release began with $1=\"$2\". Nothing was touched"
}

# whereabouts of the nodes, for who was interrupted.
whereabouts() {
	for word in taken new old ''; do
		which=
		for node in $NODES; do
			! is_at "$node" "$word" || which="$which $node"
		done
		case $which:$word in
		:*) ;;
		*:taken) printf 'in the middle:%s; ' "$which" ;;
		*:new) printf 'with the new version:%s; ' "$which" ;;
		*) printf 'with what it had:%s; ' "$which" ;;
		esac
	done
}
