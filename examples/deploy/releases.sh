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
	to=$(readlink "$BIN" 2>/dev/null) || return 0
	case $to in "${BIN##*/}.releases/"*/*) ;; *) return 0 ;; esac
	to=${to%/*}
	printf '%s' "${to##*/}"
}
program() { printf '%s' "$folder/$1/${BIN##*/}"; }
same() { cmp -s "$(program "$1")" "$(program "$2")" && cmp -s "$folder/$1/env" "$folder/$2/env"; }

# running sets pid to the process of this node's BIN, or to nothing.
running() {
	pid='' said=$(ask) && pid=$(field pid "$said")
	[ -n "$pid" ] || { read -r pid <"${PIDFILE:-/dev/null}"; } 2>/dev/null
	case $pid in '' | 0* | *[!0-9]*) pid='' ;; *) alive "$pid" && ours "$pid" || pid='' ;; esac
}

# link makes BIN link to a release, by rename.
link() { # release
	{ ln -sfn "${BIN##*/}.releases/$1/${BIN##*/}" "$BIN.link.$$" && mv -f "$BIN.link.$$" "$BIN"; } || {
		rm -f "$BIN.link.$$"
		unwritten 1 "$BIN" "it is to be a link to $1"
	}
}

# fresh makes a folder, tmp, for what is to be the next release, and sets release to its name. Half of one must not
# stay: on a full disk it would take the room that the old version needs to start.
fresh() { # label
	label=$(printf '%s' "$1" | tr -c 'A-Za-z0-9._+-' _)
	n=$(($(numbers | tail -n 1) + 1))
	release=$n${label:+-$label}
	trap 'rm -rf "$folder/tmp"' EXIT
	rm -rf "$folder/tmp" && mkdir "$folder/tmp"
}
numbers() { ls "$folder" | sed -n 's/^\([0-9][0-9]*\)\(-.*\)\{0,1\}$/\1/p' | sort -n; }

# made lets it be one: what is there under its name is whole.
made() {
	[ -e "$folder/tmp/env" ] || touch "$folder/tmp/env"
	chmod +x "$folder/tmp/${BIN##*/}" && mv "$folder/tmp" "$folder/$release"
}

# lived notes that a release was live and well.
lived() { # release
	[ "$(tail -n 1 "$folder/live" 2>/dev/null)" != "$1" ] || return 0
	all=$(cat "$folder/live" 2>/dev/null)
	written "$folder/live" printf '%s\n' ${all:+"$all"} "$1" || unwritten 1 "$folder/live"
	noted "live $1"
}

# keep: what runs may be another than what BIN links to, or no release yet.
keep() {
	running
	from=$BIN now=$(current)
	[ -z "$pid" ] || [ ! -d /proc/self ] || from=/proc/$pid/exe
	[ -z "$pid" ] || [ -r "$from" ] || fail 1 "$NODE: what pid $pid runs cannot be read: be the user of the service"
	if [ -e "$from" ] && { [ -z "$now" ] || ! cmp -s "$from" "$(program "$now")"; }; then
		old=$now now=''
		for release in $(lately); do
			[ -n "$now" ] || ! cmp -s "$from" "$(program "$release")" || now=$release
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

# lately are those that were live and are kept, the last one first.
lately() {
	sed -n '1!G;h;$p' "$folder/live" 2>/dev/null | while read -r release; do
		[ ! -d "$folder/$release" ] || printf '%s\n' "$release"
	done
}

# put: an input that was cut short is of another sum.
put() { # maybe id, sum, label
	full="it cannot take the new version, and nothing was changed"
	{ fresh "${3-}" && cat >"$folder/tmp/${BIN##*/}"; } || unwritten 1 "$folder" "$full"
	[ $# = 0 ] || [ "$(sum "$folder/tmp/${BIN##*/}")" = "$2" ] ||
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

# of is the release that an id has put.
of() { # id
	for release in $(numbers | sort -nr); do
		for dir in "$folder/$release" "$folder/$release"-*; do
			! put_by "${dir##*/}" "$1" || { printf '%s' "${dir##*/}" && return; }
		done
	done
}

# way_back prints what was live and well last, before that release. A release that was continued may have put several
# folders.
way_back() { # maybe id
	mine=$(of "${1-by hand}") to=''
	for release in $(lately); do
		if [ -n "$to" ] || [ "$release" = "$mine" ]; then continue; fi
		[ $# = 0 ] || ! put_by "$release" "$1" || continue
		to=$release
	done
	[ -n "$to" ] || { read -r to <"$folder/before"; } 2>/dev/null
	printf '%s' "$to"
}

# restore goes the way back. Once more is the same.
restore() { # maybe id
	rm -rf "$folder/tmp" # of a step that was killed
	to=$(way_back "$@")
	if [ -z "$to" ]; then
		rm -f "$BIN"
		fail 1 "$NODE: nothing was live before"
	fi
	[ -e "$(program "$to")" ] || fail 6 "$NODE: $folder/$to is not there"
	[ "$(current)" = "$to" ] || { link "$to" && noted "restored $to, ${1-by hand}"; }
}

# has: it runs that already, with these settings, and so there is nothing to do.
has() { # sum
	name=$(current)
	[ -n "$name" ] && [ "$(sum "$BIN")" = "$1" ] || return
	released_with | cmp -s - "$folder/$name/env" || return
	check >/dev/null 2>&1 || return
	running # of a container it can't be seen
	[ -n "$pid" ] && [ -d /proc/self ] && cmp -s "/proc/$pid/exe" "$BIN"
}

# live: done is what runs.
live() { # maybe sum
	name=$(current)
	[ -n "$name" ] || fail 1 "$NODE: $BIN is no link into $folder any more: something else has put it there"
	[ $# = 0 ] || [ "$(sum "$BIN")" = "$1" ] || fail 1 "$NODE: $BIN links to $name, which is not what was released"
	running
	if [ -n "$pid" ] && [ -d /proc/self ]; then
		cmp -s "/proc/$pid/exe" "$BIN" || fail 1 "$NODE: pid $pid does not run $name, which $BIN links to"
	else
		control status >/dev/null 2>&1 || fail 1 "$NODE: nothing runs $BIN" # a container's process can't be seen
	fi
	lived "$name" && prune
}

# shellcheck disable=SC2153
# prune keeps the last KEEP, and those that there is a way back to.
prune() {
	keep=" $(current) $(cat "$folder/before" 2>/dev/null) $(back_to) $(rolls_back_to) "
	for n in $(numbers | sort -nr | tail -n "+$((KEEP + 1))"); do
		for dir in "$folder/$n" "$folder/$n"-*; do
			case "$keep" in *" ${dir##*/} "*) ;; *) rm -rf "$dir" ;; esac
		done
	done
}
# back_to: the last of those that were live, and the last that differs from that.
back_to() {
	last=
	for release in $(lately); do
		[ -n "$last" ] || { last=$release && printf '%s ' "$last"; }
		same "$release" "$last" || { printf '%s ' "$release" && return; }
	done
}

# rolls_back_to: the last release may be of the same program as the one before it.
rolls_back_to() { case $(last_id) in '' | "by hand") way_back ;; *) way_back "$(last_id)" ;; esac }
last_id() {
	for n in $(numbers | sort -nr); do
		for file in "$folder/$n/id" "$folder/$n"-*/id; do
			[ ! -r "$file" ] || { cat "$file" && return; }
		done
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
