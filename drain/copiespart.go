package drain

// copiesPart lets the next generation know signals whose copies the keeper sends to it. They go along with the word of
// this one, and with each command that this one passes on.
const copiesPart = "signals"

func (c *copies) release(m *message) {
	_ = m.give(copiesPart, c.pending()) // what does not go along counts twice
}

func (c *copies) inherit(m message) {
	var came given
	if m.take(copiesPart, &came) {
		c.add(came)
	}
}
