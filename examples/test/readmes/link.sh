#!/bin/sh
# link.sh TOOL ARGUMENTS: for go build -toolexec. What one session has linked lies beside this, and another one, which
# links the same, copies it: the build ID is that of all that goes in.
set -eu
id='' out='' last=''
for word; do
	case $last:$word in
	-o:*) out=$word ;;
	*:-buildid=*) id=${word##*/} ;;
	esac
	last=$word
done
case $1:$id in */link:?*) ;; *) exec "$@" ;; esac
linked=${0%/*}/$id
exec 9>"$linked.lock"
flock 9
[ -e "$linked" ] || { GOGC=400 "$@" && mv "$out" "$linked"; }
cp "$linked" "$out"
