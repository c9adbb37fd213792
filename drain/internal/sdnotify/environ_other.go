//go:build !unix

package sdnotify

import "os"

func getenv(name string) string { return os.Getenv(name) }
