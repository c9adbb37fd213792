package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"testing"
)

// TestHistoryGoesOn: by the link to the next generation, by the file to the next start, and back to the one that has
// given it away, whose swap has failed.
func TestHistoryGoesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "history")
	for _, way := range []string{"swap", "stop", "failed swap", "first start"} {
		t.Run(way, func(t *testing.T) {
			h, want := newHistory(file), int64(kept+3)
			for range want {
				h.publish(json.RawMessage("1"))
			}
			var link bytes.Buffer
			var w io.Writer = &link
			var r io.Reader = &link
			next := newHistory(file)
			switch way {
			case "stop":
				w, r = nil, nil
			case "failed swap":
				next = h
			case "first start":
				next, r, want = newHistory(filepath.Join(t.TempDir(), "none")), nil, 0
			}
			if err := h.Release(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			if err := next.Acquire(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			seen := max(0, want-2)
			missed, grown := next.after(seen)
			newest := h.messages[len(h.messages)-len(missed):]
			if fmt.Sprint(missed) != fmt.Sprint(newest) || int64(len(missed)) != want-seen {
				t.Errorf("after %d: %v", seen, missed)
			}
			if all, _ := next.after(-1); len(all) > kept {
				t.Errorf("%d messages", len(all))
			}
			if id := next.publish(json.RawMessage("2")); id != want+1 || next.newest() != id {
				t.Errorf("the next message is %d; want %d", id, want+1)
			}
			<-grown
		})
	}
}
