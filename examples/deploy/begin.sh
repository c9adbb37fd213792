# begin.sh: how a release begins: release.sh, which sources it, checks everything, and plans.
# shellcheck shell=sh disable=SC2154,SC2034,SC2153

begin() { # file
	! under_way || fail 7 "a release is under way: continue or rollback first"
	case $1 in -*) set -- "./$1" ;; esac # it is no option
	{ [ -f "$1" ] && [ -s "$1" ]; } || fail 2 "$1 is not there, or empty: name the new binary"
	[ -r "$1" ] || fail 2 "$1 cannot be read: be a user who may"
	file=$1
	right_settings
	balancer settings || exit
	dead='' first='' middle='' late=''
	for node in $NODES; do
		at_node check "$node"
		code=$?
		go_on
		case $METHOD:$code:$(balancer status "$node") in
		*:6:*) fail 6 "the settings of $node are wrong: nothing was touched" ;;
		*:[24-57-9]:* | *:[1-9][0-9]*:*) fail 6 "$node cannot be asked: see ON and AT_NODE; nothing was touched" ;;
		restart:3:* | swap:3:*) dead="$dead $node" ;;
		*:MASTER) late="$late $node" ;;
		*:0:* | colours:*) if balancer ready "$node"; then middle="$middle $node"; else first="$first $node"; fi ;;
		*) first="$first $node" ;;
		esac
	done
	# shellcheck disable=SC2086
	set -- $dead $first $middle $late
	[ "$METHOD$middle" != colours ] || set -- "$1" # none is live yet
	sum "$file"
	NODES=$* SUM=$sum
	if everywhere "$dead$first" "$middle$late"; then
		say "each node runs $file already: nothing to do (control.sh restart restarts one)"
		[ -n "$dry" ] || history "$verb $file${VERSION:+ ($VERSION)}, $SUM: each node runs it already"
		exit
	fi
	[ -n "$dead" ] || [ "$METHOD" = colours ] || spared "$1" || fail 5 "nothing was touched"
	[ -z "$dry" ] || writable "$(nearest "$STATE/begun")/new" "$file" ${SETTINGS:+"$SETTINGS"} ||
		unwritten 6 "$STATE" "nothing was touched"
	appendable "$STATE/history" || unwritten 6 "$STATE/history" "nothing was touched"
	go_on
	claim
	[ -z "$dry" ] || { tell_all && exit; }
	ID=$(word "$(now)-$who-$$" | tr / _)
	begun=$STATE/begun/$ID
	# The journal comes last: with it all has begun, and without it nothing has.
	{
		mkdir -p "$begun" && cp "$file" "$begun/new" && { [ -z "$SETTINGS" ] || cp "$SETTINGS" "$begun/settings"; } &&
			printf '%s\n' "NODES=$NODES" "SHARE=$SHARE" "WEIGHT=$WEIGHT" "METHOD=$METHOD" "PAUSE=$verb" "VERSION=$VERSION" \
				"CHECK=${CHECK-}" "GATE=$GATE" "BALANCER=$BALANCER" >"$begun/plan" &&
			history "$verb $file${VERSION:+ ($VERSION)}, $SUM, begins;$(versions)" &&
			printf '%s release %s of %s\n' "$(now)" "$ID" "$file" >"$begun/journal" && mv "$begun/journal" "$STATE/journal"
	} || {
		free
		rm -rf "$begun"
		go_on
		unwritten 6 "$STATE" "nothing was touched"
	}
}

# right_settings: what is wrong is found before a node is touched.
right_settings() {
	for node in $NODES; do
		case $node in [.-]* | *[!A-Za-z0-9._-]*)
			fail 6 "NODES: \"$node\": want letters, digits, and any of . _ -, of which no . or - is the first" ;;
		esac
	done
	# shellcheck disable=SC2086
	set -- $NODES
	[ -z "$(printf '%s\n' "$@" | sort | uniq -d)" ] || fail 6 "NODES is \"$NODES\": want each name once"
	case $METHOD:$# in
	swap:0 | restart:[01]) fail 6 "NODES is \"$NODES\": want the names of two nodes or more; METHOD=swap does with one" ;;
	restart:* | swap:*) ;;
	colours:2) command -v balancer_try >/dev/null || fail 6 "METHOD is colours, which this BALANCER knows nothing of" ;;
	colours:*) fail 6 "NODES is \"$NODES\": want the names of two nodes, one of which is live" ;;
	*) fail 6 "METHOD is \"$METHOD\": want restart, swap or colours" ;;
	esac
	number SHARE "$SHARE" $#
	number WEIGHT "$WEIGHT" 100
	[ "$WEIGHT" = 100 ] || [ -n "$balancer_weights" ] || fail 6 "WEIGHT is $WEIGHT: this BALANCER knows nothing but 100"
	case "$GATE${CHECK-}$VERSION" in *"
"*) fail 6 "GATE, CHECK and VERSION: want one line each" ;; esac
	label=$(word "$VERSION")
	[ "${#label}" -le 200 ] || fail 6 "VERSION is longer than 200 bytes, which is too long for the name of a folder"
	runnable GATE "$GATE"
	runnable ON "$ON"
	if [ -z "$ON" ]; then
		runnable CHECK "${CHECK-}"
		runnable AT_NODE "$AT_NODE"
	else
		case ${CHECK-} in *\'*) fail 6 "CHECK is $CHECK: want no ' in it, since it goes to the nodes" ;; esac
	fi
	[ -z "$SETTINGS" ] || [ -r "$SETTINGS" ] || fail 6 "SETTINGS is $SETTINGS, which cannot be read"
	[ -z "$SETTINGS" ] || (settings "$SETTINGS") || exit
}

# everywhere: all nodes that count run it, and none is out.
everywhere() { # nodes that are out, that are not
	[ -n "$2" ] && { [ -z "$1" ] || [ "$METHOD" = colours ]; } || return
	for node in $2; do at_node has "$node" "$SUM" </dev/null 2>/dev/null || return; done
}

# tell_all says what a release would do.
tell_all() {
	say "would release $file${VERSION:+ ($VERSION)}, $SUM, by METHOD=$METHOD${BALANCER:+, BALANCER=${BALANCER##*/}}:"
	i=0
	for node in $NODES; do
		i=$((i + 1)) why='' weight=100
		case " $dead " in *" $node "*) why=' (does not run)' ;; esac
		case " $first " in *" $node "*) why=' (has no traffic)' ;; esac
		[ "$i" -gt "$SHARE" ] || weight=$WEIGHT
		case $METHOD:$i in
		restart:*) say "$i. $node$why: out of the balancer, stop, put, start, check, $weight % of its traffic" ;;
		swap:*) say "$i. $node$why: put, swap in place, check" ;;
		colours:1) say "$i. $node: put, start, check, check through the balancer${GATE:+, GATE}, all new requests" ;;
		colours:*) say "$i. $node: live now; gets no new requests, and is stopped when it is empty" ;;
		esac
		if [ "$i" -ne "$SHARE" ] || [ "$METHOD" = colours ]; then continue; fi
		case $verb:$GATE in
		share:*) say "   then wait for continue or rollback" ;;
		*:?*) say "   then GATE, $GATE: the rest, or the way back" ;;
		esac
	done
	say "nothing was touched"
}
