package drain

import (
	"log/slog"

	"github.com/baton-go/baton/drain/internal/tlsconf"
)

// ticketsPart is the keys of session tickets: the main generation makes new ones.
func ticketsPart(keys *tlsconf.TicketKeys, log *slog.Logger) part {
	var inherited []tlsconf.TicketKey
	begin := func() {
		if err := keys.Begin(inherited); err != nil {
			log.Warn("invalid session ticket keys ignored; the current keys stay", "err", err)
		}
		inherited = nil
	}
	return part{
		inherit: func(m message) { inherited = m.TicketKeys },
		acquire: begin,
		release: func(m *message) { m.TicketKeys = keys.End() },
		regain:  func() { inherited = nil; begin() },
	}
}
