//go:build !unix

// Command tour swaps a service under load; it needs signals, which this platform does not have.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "tour: swaps are triggered by signals, which this platform does not have")
	os.Exit(2)
}
