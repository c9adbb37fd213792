module github.com/baton-go/baton

go 1.25.0

require (
	github.com/cloudflare/tableflip v1.2.3
	github.com/coreos/go-systemd/v22 v22.7.0
	golang.org/x/sys v0.42.0
)
