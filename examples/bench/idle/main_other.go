//go:build !unix

// Command idle measures swaps, which need Unix.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "idle: runs on Unix only")
	os.Exit(2)
}
