//go:build unix

package sdnotify

import "github.com/baton-go/baton/drain/internal/process"

func getenv(name string) string { return process.Getenv(name) }
