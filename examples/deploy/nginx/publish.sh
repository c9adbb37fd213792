#!/bin/sh
# publish.sh: a new version for two instances behind nginx, one after the other,
# by ../gray/release.sh, whose verbs, settings and exit codes these are:
#
#   publish.sh upgrade FILE | continue | rollback | status

here=$(dirname "$0")
export NODES="${NODES:-a b}" BALANCER="${BALANCER:-sh $here/upstream.sh}"
exec sh "$here/../gray/release.sh" "$@"
