//go:build !linux

// Command pull measures a real HAProxy on loopback addresses that only Linux has all of.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "pull: runs on Linux only")
	os.Exit(2)
}
