//go:build !unix

// Command pause measures swaps, which need Unix.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "pause: runs on Unix only")
	os.Exit(2)
}
