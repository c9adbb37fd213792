#!/bin/sh
# build.sh: one binary for all environments, DIST/app, and its version, DIST/version.
set -e
cd "$(dirname "$0")"

: "${SERVICE:=../../nethttp}" # the package of the service
: "${DIST:=dist}"
: "${LDFLAGS:=}"           # more of them
VERSION=${VERSION:-${CI_COMMIT_SHORT_SHA:-${GIT_COMMIT:-dev}}} # GitLab's, Jenkins'

mkdir -p "$DIST"
go build -o "$DIST/app.new" -ldflags "-X main.version=$VERSION $LDFLAGS" "$SERVICE"
mv "$DIST/app.new" "$DIST/app"
printf '%s\n' "$VERSION" >"$DIST/version"
echo "build.sh: $DIST/app, version $VERSION"
