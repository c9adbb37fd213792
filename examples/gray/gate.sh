#!/bin/sh
# gate.sh: an example of release.sh's GATE. It asks through the balancer, a new
# connection each time, and fails when an answer is not 200, or when none comes
# from the version that is being released. Yours may ask your monitoring.

: "${ASK:=100}"    # requests
: "${VERSION:=}"   # of the release, as /whoami says it
: "${SITE_URL:?set it to the URL of the balancer}"

seen=0
i=0
while [ "$i" -lt "$ASK" ]; do
	i=$((i + 1))
	who=$(curl -q -s -f -m 10 -A gate.sh "$SITE_URL/whoami") || {
		echo "gate.sh: request $i of $ASK failed" >&2
		exit 1
	}
	case $who in *"\"version\":\"$VERSION\""*) seen=$((seen + 1)) ;; esac
done
echo "gate.sh: $ASK of $ASK requests answered${VERSION:+, $seen by $VERSION}"
[ -z "$VERSION" ] || [ "$seen" -gt 0 ]
