//go:build linux

package flow

import (
	"encoding/csv"
	"fmt"
	"net"
	"testing"
	"time"
)

// Servers is what HAProxy says of the servers of its backends at its stats
// socket: by their names, and each by the column names of "show stat".
func Servers(t testing.TB, socket string) map[string]map[string]string {
	t.Helper()
	var c net.Conn
	Eventually(t, "HAProxy listens on "+socket, func() bool { // later than where it serves
		var err error
		c, err = net.Dial("unix", socket)
		return err == nil
	})
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(Patience))
	fmt.Fprintln(c, "show stat -1 4 -1") // 4: servers
	r := csv.NewReader(c)
	r.FieldsPerRecord, r.LazyQuotes = -1, true
	lines, err := r.ReadAll()
	if err != nil || len(lines) == 0 || len(lines[0]) < 2 {
		t.Fatalf("HAProxy at %s: show stat: %v, %q", socket, err, lines)
	}
	servers := map[string]map[string]string{}
	for _, line := range lines[1:] {
		if len(line) != len(lines[0]) {
			continue // the empty one at the end
		}
		of := map[string]string{}
		for i, value := range line {
			of[lines[0][i]] = value
		}
		servers[line[1]] = of
	}
	return servers
}
