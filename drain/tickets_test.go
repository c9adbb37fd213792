package drain

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/tlsconf"
)

// Keys that come with a late word are not those of a generation that has begun, also where it takes a swap back.
func TestTicketKeysOfALateWord(t *testing.T) {
	t.Parallel()
	keys, err := tlsconf.NewTicketKeys(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := ticketsPart(keys, slog.New(slog.DiscardHandler))
	p.acquire()
	late := tlsconf.TicketKey{Key: bytes.Repeat([]byte{7}, 32), Made: time.Now()}
	p.inherit(message{TicketKeys: []tlsconf.TicketKey{late}})
	p.release(&message{})
	p.regain()
	for _, k := range keys.Export() {
		if bytes.Equal(k.Key, late.Key) {
			t.Error("the late key is in use")
		}
	}
}
