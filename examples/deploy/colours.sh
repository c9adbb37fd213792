# colours.sh: METHOD=colours of release.sh, which sources it and has what it calls. Of two nodes one
# is live; the new one is the other.
# shellcheck shell=sh disable=SC2154

# switch is forward of METHOD=colours. When the balancer has switched already, the
# new one is not touched any more.
switch() {
	if ! balancer ready "$new"; then
		if ! { noted shared && at_node check "$new"; }; then
			note "taken $new"
			balancer out "$new" || {
				note "old $new"
				failed "$new was not touched, ${live:-nothing} is live, as before: continue tries it again"
			}
			retire "$new"
			{ put "$new" && at_node start "$new" && at_node check "$new" && at_node live "$new"; } ||
				given_up "$new fails with the new version"
			# The balancer reaches it, too, before anybody depends on that.
			{ balancer try "$new" && at_node check "$new" "$PREVIEW"; } ||
				given_up "$new fails with the new version, through the balancer"
		fi
		if paused; then return; fi
	fi
	if ! is_at "$new" new; then
		balancer in "$new" 100 || given_up "the balancer does not follow"
		note "new $new"
	fi
	[ -z "$live" ] || retire "$live"
	ends "$new"
}

given_up() { # why
	say "$1: the way back" >&2
	stay
	failed "${live:-nothing} is live, as before: continue tries it again, or rollback"
}

# stay sees to it that what was live is: where it does not run any more, it is started.
stay() {
	! is_at "$new" '' || return 0
	if [ -n "$live" ]; then
		balancer ready "$live" || at_node check "$live" || {
			balancer out "$live" && retire "$live" && at_node start "$live" && at_node check "$live"
		} || undone "$live could not be started: continue or rollback when that is mended"
		give "$live" 100
	else
		balancer out "$new" || undone "$new is live: continue or rollback"
	fi
	retire "$new"
	note "old $new"
}

# retire stops a colour that gets no requests any more.
retire() { # node
	say "$1: waiting until it has finished its requests"
	{ at_node empty "$1" && halted "$1" stop; } ||
		undone "$1 has no new requests, but is not stopped: continue or rollback"
}
