//go:build unix

package link

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets more tests run beside each other than there are processors: those that may do so wait for Patience.
func TestMain(m *testing.M) {
	flag.Parse()
	fuzzes := flag.Lookup("test.fuzz").Value.String() != ""
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue && !fuzzes {
		_ = f.Value.Set("16")
	}
	os.Exit(m.Run())
}
