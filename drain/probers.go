package drain

import "github.com/baton-go/baton/health"

// probersPart is what is known of the probers: the next generation goes on with it.
func probersPart(h *health.State, warn func(kind EventKind, message string, err error)) part {
	return part{
		inherit: func(m message) {
			if len(m.Ledger) > 0 {
				if err := h.Import(m.Ledger); err != nil {
					warn(EventProbersLost, "the ledger of probers is lost", err)
				}
			}
		},
		release: func(m *message) { m.Ledger = h.Export() },
	}
}
