#!/bin/sh
# smoke.sh: an example of CHECK. It asks a node directly, at $URL, whether it does
# what it is there for.
said=$(curl -q -s -f -m 10 -A smoke.sh --data-binary ping "${URL:?}/echo") && [ "$said" = ping ] && exit
echo "smoke.sh: $URL/echo does not echo${said:+: $said}" >&2
exit 1
