# releases.sh: the releases of a node, for node.sh, which sources it and sets BIN and folder.
# shellcheck shell=sh disable=SC2154,SC2034,SC2030,SC2031,SC2012

# lock lets one step at a time change the node: one that a lost ssh has left alone goes on.
lock() {
	{ { [ -d "$folder" ] || mkdir -p "$folder"; } && appendable "$folder/lock" && exec 8>>"$folder/lock"; } ||
		unwritten 6 "$folder"
	within "$STEP_TIMEOUT" flock -n 8 || fail 7 "$NODE: another step is not over after $STEP_TIMEOUT s"
}

# noted: where that can't be written, a step ends all the same, and above all the way back.
noted() {
	printf '%s %s %s\n' "$(now)" "$NODE" "$*" >>"$folder/journal" || say "cannot write $folder/journal" >&2
}

# current is the name of the release that BIN links to, or nothing.
current() {
	current=$(readlink "$BIN" 2>/dev/null)
	case $current in "${BIN##*/}.releases/"*/*) current=${current%/*} current=${current##*/} ;; *) current='' ;; esac
}
same() { # two releases
	alike "$folder/$1/${BIN##*/}" "$folder/$2/${BIN##*/}" && alike "$folder/$1/env" "$folder/$2/env"
}

# running sets pid to the process of this node's BIN, by what that has said, or to nothing.
running() {
	field pid "$said"
	pid=$value
	[ -n "$pid" ] || { read -r pid <"${PIDFILE:-/dev/null}"; } 2>/dev/null
	case $pid in '' | 0* | *[!0-9]*) pid='' ;; *) alive "$pid" && ours "$pid" || pid='' ;; esac
}
# seen: there is one, and no container hides it. up_to_date: it has the file that BIN links to.
seen() { [ -n "$pid" ] && [ -d /proc/self ]; }
up_to_date() { seen && alike "/proc/$pid/exe" "$BIN"; }

# link makes BIN link to a release, by rename.
link() { # release
	{ ln -sfn "${BIN##*/}.releases/$1/${BIN##*/}" "$BIN.link.$$" && mv -f "$BIN.link.$$" "$BIN" && current=$1; } || {
		rm -f "$BIN.link.$$"
		unwritten 1 "$BIN" "it is to be a link to $1"
	}
}

# fresh makes a folder, tmp, for what is to be the next release, and sets release to its name. Half of one must not
# stay: on a full disk it would take the room that the old version needs to start.
fresh() { # label
	label=${1:+$(printf '%s' "$1" | tr -c 'A-Za-z0-9._+-' _)}
	numbered
	n=${numbered%%[!0-9]*}
	release=$((${n:-0} + 1))${label:+-$label}
	trap 'rm -rf "$folder/tmp"' EXIT
	rm -rf "$folder/tmp" && mkdir "$folder/tmp"
}
# numbered is the releases that are there, N or N-LABEL, the newest first. Of a name that fresh would not give there is
# none.
numbered() {
	numbered=
	for release in "$folder"/[0-9]*; do
		release=${release##*/}
		case ${release%%-*}:$release in *[!0-9]*:* | *:*[!A-Za-z0-9._+-]*) ;; *) numbered="$numbered$release
" ;; esac
	done
	numbered=$(sort -nr <<-END
		$numbered
	END
	)
}

# made lets it be one: what is there under its name is whole.
made() {
	[ -e "$folder/tmp/env" ] || touch "$folder/tmp/env"
	chmod +x "$folder/tmp/${BIN##*/}" && mv "$folder/tmp" "$folder/$release"
}

# lived notes that a release was live and well.
lived() { # release
	all=$(cat "$folder/live" 2>/dev/null)
	[ "${all##*
}" != "$1" ] || return 0
	written "$folder/live" printf '%s\n' ${all:+"$all"} "$1" || unwritten 1 "$folder/live"
	noted "live $1"
}

# keep: what runs may be another than what BIN links to, or no release yet.
keep() {
	ask || said=''
	running
	from=$BIN now=$current
	! seen || from=/proc/$pid/exe
	[ -z "$pid" ] || [ -r "$from" ] || fail 1 "$NODE: what pid $pid runs cannot be read: be the user of the service"
	if [ -e "$from" ] && { [ -z "$now" ] || ! alike "$from" "$folder/$now/${BIN##*/}"; }; then
		old=$now now=''
		lately
		for release in $lately; do
			[ -n "$now" ] || ! alike "$from" "$folder/$release/${BIN##*/}" || now=$release
		done
		if [ -z "$now" ]; then
			{
				fresh kept && cp "$from" "$folder/tmp/${BIN##*/}" &&
					{ [ ! -e "$folder/$old/env" ] || cp "$folder/$old/env" "$folder/tmp/env"; } && made
			} || unwritten 1 "$folder" "it cannot take what runs, and nothing was changed"
			now=$release
		fi
	fi
	if [ -n "$pid" ]; then
		lived "$now"
	else
		written "$folder/before" printf '%s\n' "$now" || unwritten 1 "$folder/before"
	fi
}

# lately is those that were live and are kept, the last one first.
lately() {
	lately=
	{ while read -r release || [ -n "$release" ]; do
		[ ! -d "$folder/$release" ] || lately="$release $lately"
	done <"$folder/live"; } 2>/dev/null
}

# put: an input that was cut short is of another sum.
put() { # maybe id, sum, label
	full="it cannot take the new version, and nothing was changed"
	{ fresh "${3-}" && cat >"$folder/tmp/${BIN##*/}"; } || unwritten 1 "$folder" "$full"
	[ $# = 0 ] || { sum "$folder/tmp/${BIN##*/}" && [ "$sum" = "$2" ]; } ||
		fail 1 "$NODE: the new version has not arrived whole: nothing was changed"
	# A release whose settings can't be read could not even be left again.
	released_with >"$folder/tmp/env" || unwritten 1 "$folder" "$full"
	(settings "$folder/tmp/env") || fail 6 "$NODE: mend the settings of the release: nothing was changed"
	{ printf '%s\n' "${1-by hand}" >"$folder/tmp/id" && made; } || unwritten 1 "$folder" "$full"
	link "$release" && noted "put $release, ${1-by hand}"
}

# released_with are the service's settings: new ones, or those that it has.
released_with() {
	if [ -n "$given" ]; then
		printf '%s' "$lines"
	elif [ -n "$SETTINGS" ]; then
		sed -n '/^APP_/p' "$SETTINGS"
	elif [ -r "$env" ]; then
		cat "$env"
	fi
}

# put_by tells whether an id has put the release.
put_by() { # release, id
	by=
	{ read -r by <"$folder/$1/id"; } 2>/dev/null
	[ "$by" = "$2" ]
}

# way_back sets to: what was live and well last, before that release. A release that was continued may have put several
# folders.
way_back() { # maybe id
	mine='' to=''
	for release in $numbered; do
		[ -n "$mine" ] || ! put_by "$release" "${1-by hand}" || mine=$release
	done
	for release in $lately; do
		if [ -n "$to" ] || [ "$release" = "$mine" ]; then continue; fi
		[ $# = 0 ] || ! put_by "$release" "$1" || continue
		to=$release
	done
	[ -n "$to" ] || { read -r to <"$folder/before"; } 2>/dev/null
}

# restore goes the way back. Once more is the same.
restore() { # maybe id
	rm -rf "$folder/tmp" # of a step that was killed
	numbered
	lately
	way_back "$@"
	if [ -z "$to" ]; then
		rm -f "$BIN"
		fail 1 "$NODE: nothing was live before"
	fi
	[ -e "$folder/$to/${BIN##*/}" ] || fail 6 "$NODE: $folder/$to is not there"
	[ "$current" = "$to" ] || { link "$to" && noted "restored $to, ${1-by hand}"; }
}

# has: it runs that already, with these settings, and so there is nothing to do.
has() { # sum
	released "$1" || return
	check >/dev/null 2>&1 || return
	running # of a container it can't be seen
	up_to_date
}
released() { # sum
	[ -n "$current" ] && sum "$BIN" && [ "$sum" = "$1" ] && released_with | cmp -s - "$folder/$current/env"
}

# live: done is what runs.
live() { # maybe sum
	[ -n "$current" ] || fail 1 "$NODE: $BIN is no link into $folder any more: something else has put it there"
	[ $# = 0 ] || { sum "$BIN" && [ "$sum" = "$1" ]; } ||
		fail 1 "$NODE: $BIN links to $current, which is not what was released"
	ask || said=''
	running
	if seen; then
		up_to_date || fail 1 "$NODE: pid $pid does not run $current, which $BIN links to"
	else
		control status >/dev/null 2>&1 || fail 1 "$NODE: nothing runs $BIN" # a container's process can't be seen
	fi
	lived "$current" && prune
}

# prune keeps the last KEEP, and those that there is a way back to: the last of those that were live, the last that
# differs from that, and where a rollback leads to, since the last release may be of the same program as the one before.
# shellcheck disable=SC2153
prune() {
	numbered
	lately
	last_id
	case $id in '' | "by hand") way_back ;; *) way_back "$id" ;; esac
	last=${lately%% *} keep=" $current $to ${lately%% *} "
	for release in $lately; do
		same "$release" "$last" || { keep="$keep$release " && break; }
	done
	n=0 before=''
	{ read -r before <"$folder/before"; } 2>/dev/null
	for release in $numbered; do
		n=$((n + 1))
		case "$keep$before " in *" $release "*) continue ;; esac
		[ "$n" -le "$KEEP" ] || rm -rf "${folder:?}/$release"
	done
}
last_id() {
	id=
	for release in $numbered; do
		[ ! -r "$folder/$release/id" ] || { read -r id <"$folder/$release/id" || :; return; }
	done
}

own() { # key
	if [ -s "$folder/claim" ]; then
		{ read -r key && read -r holder; } <"$folder/claim"
		[ "$key" = "$1" ] ||
			fail 7 "$NODE is in the hands of another release: $(printf %s "$holder" | tr , ' '), at $key;" \
			"continue or rollback there. If that is gone for good: rm $folder/claim"
	fi
}
claimable() { # key
	own "$1"
	{ writable "$(nearest "$folder")/claim" && appendable "$folder/lock"; } || unwritten 6 "$folder"
}
claim() { # key, maybe by whom
	own "$1"
	[ -s "$folder/claim" ] || written "$folder/claim" printf '%s\n' "$1" "${2-nobody says whose}" ||
		unwritten 6 "$folder/claim"
}
free() { # key
	{ read -r key <"$folder/claim"; } 2>/dev/null
	[ "${key-}" != "$1" ] || rm -f "$folder/claim"
}
