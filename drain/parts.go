package drain

import "slices"

// part is something that exactly one generation owns. A function that is nil has nothing to do.
//
// Prepare and end have a goroutine of their own, and may wait for a disk. None of the others blocks: the goroutine that
// owns the state calls them, and clients wait meanwhile. One that takes its time goes on elsewhere; see soon.
type part struct {
	// prepare does, in a new generation, everything that can fail. It must not disturb the owner.
	prepare func() error
	// inherit takes what release has put into m. It is called before acquire, or later where the old
	// generation's word has come late, or never.
	inherit func(m message)
	// acquire makes this generation the owner.
	acquire func()
	// release gives the part up, for the new generation that m is sent to.
	release func(m *message)
	// regain makes this generation the owner again, after release: the new one is dead.
	regain func()
	// yield ends what is left here after release: the new generation serves.
	yield func()
	// end is called once, when this generation ends.
	end func(how ending)
}

// ending is how a generation ends.
type ending int

const (
	guest    ending = iota // it has never owned anything: all is the old generation's
	replaced               // another generation owns everything
	last                   // no generation follows
)

// parts inherit, acquire and regain in their order; they prepare, release, yield and end in reverse. Where one can't
// prepare, no other does, and all of them end: nothing else undoes what those before have prepared.
type parts []part

func (ps parts) prepare() error {
	for _, p := range slices.Backward(ps) {
		if p.prepare != nil {
			if err := p.prepare(); err != nil {
				return err
			}
		}
	}
	return nil
}

// acquire is called with the word of the old generation, or with nil.
func (ps parts) acquire(word *message) {
	for _, p := range ps {
		if word != nil && p.inherit != nil {
			p.inherit(*word)
		}
		if p.acquire != nil {
			p.acquire()
		}
	}
}

func (ps parts) inherit(word message) {
	for _, p := range ps {
		if p.inherit != nil {
			p.inherit(word)
		}
	}
}

func (ps parts) release(m *message) {
	for _, p := range slices.Backward(ps) {
		if p.release != nil {
			p.release(m)
		}
	}
}

func (ps parts) regain() {
	for _, p := range ps {
		if p.regain != nil {
			p.regain()
		}
	}
}

func (ps parts) yield() {
	for _, p := range slices.Backward(ps) {
		if p.yield != nil {
			p.yield()
		}
	}
}

func (ps parts) end(how ending) {
	for _, p := range slices.Backward(ps) {
		if p.end != nil {
			p.end(how)
		}
	}
}
