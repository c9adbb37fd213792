#!/bin/sh
# gate.sh: an example of release.sh's GATE. It asks through the balancer, a new
# connection each time, until it has had enough answers, and some from the version
# that is being released. It fails when an answer is not 200, or when none comes
# from that version. Yours may ask your monitoring.

: "${ASK:=50}"     # answers, at least
: "${VERSION:=}"   # of the release, as /whoami says it
: "${SITE_URL:?set it to the URL of the balancer}"

here=${0%/*}
[ "$here" != "$0" ] || here=.
[ -e "$here/common.sh" ] || here=$here/.. # it needs that, beside it or a folder above
# shellcheck source=/dev/null
. "$here/common.sh"
right_numbers "$0"

i=0 seen=0
while [ "$i" -lt "$ASK" ] || [ "$seen" = 0 ]; do
	i=$((i + 1))
	who=$(curl -q -s -f -m 10 -A gate.sh "$SITE_URL/whoami") || {
		echo "gate.sh: request $i failed" >&2
		exit 1
	}
	case $who in *"\"version\":\"$VERSION\""*) seen=$((seen + 1)) ;; esac
	[ -n "$VERSION" ] || seen=$i
	if [ "$seen" = 0 ] && [ "$i" -ge $((ASK * 10)) ]; then
		echo "gate.sh: none of $i answers is from $VERSION" >&2
		exit 1
	fi
done
echo "gate.sh: $i requests, none failed${VERSION:+, $seen answered by $VERSION}"
