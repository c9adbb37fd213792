package port

import (
	"errors"
	"net"
	"sync"
)

// Gate is a listener that is closed, and opened again, while one goroutine accepts what comes.
type Gate struct {
	listen func() (net.Listener, error)
	opened func() // called each time before the first connection is accepted, while Shut has to wait

	opening sync.Mutex // held while listen runs: Shut must not miss its listener. It comes before mu.

	mu      sync.Mutex   // guards what follows
	changed sync.Cond    // of shut and ended
	ln      net.Listener // nil while shut
	shut    bool
	ended   bool // Close has been called
}

// NewGate returns a gate that is not shut. Serve opens it, and so does Open.
func NewGate(listen func() (net.Listener, error), opened func()) *Gate {
	g := &Gate{listen: listen, opened: opened}
	g.changed.L = &g.mu
	return g
}

// Shut closes the listener. It returns when no connect can succeed any more, and waits for a listen under way.
func (g *Gate) Shut() {
	g.opening.Lock()
	defer g.opening.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	g.closeListener()
}

// Reopen undoes Shut: Serve opens the listener again.
func (g *Gate) Reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
	g.changed.Broadcast()
}

// Close closes the listener for good, and ends Serve.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	g.changed.Broadcast()
	g.closeListener()
}

func (g *Gate) closeListener() {
	if g.ln != nil {
		_ = g.ln.Close()
		g.ln = nil
	}
}

// Serve accepts connections until Close is called, and returns nil then. The error is why the listener
// could not be opened again, or was lost; to call Serve once more is right then.
func (g *Gate) Serve(answer func(net.Conn) (closed func())) error {
	var lingering Lingering
	defer lingering.Wait()
	for g.awaitOpen() {
		ln, err := g.Open()
		if err != nil {
			return err
		}
		if ln == nil {
			continue // shut again
		}
		lingering.Accept(ln, answer)
		if g.lost(ln) {
			return errors.New("health: heartbeat: something else has closed the port")
		}
	}
	return nil
}

// awaitOpen waits until g is not shut; it reports false if g is closed before.
func (g *Gate) awaitOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut && !g.ended {
		g.changed.Wait()
	}
	return !g.ended
}

// Open returns the listener, nil if g is shut or closed.
func (g *Gate) Open() (net.Listener, error) {
	g.opening.Lock()
	defer g.opening.Unlock()
	g.mu.Lock()
	ln, off := g.ln, g.shut || g.ended
	g.mu.Unlock()
	if ln != nil || off {
		return ln, nil
	}
	ln, err := g.listen()
	if err == nil && ln == nil {
		err = errors.New("health: heartbeat: listen returned no listener")
	}
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	if g.ended {
		_ = ln.Close()
		ln = nil
	}
	g.ln = ln
	g.mu.Unlock()
	if ln != nil {
		g.opened()
	}
	return ln, nil
}

// lost reports whether g has not closed ln itself.
func (g *Gate) lost(ln net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ln != ln {
		return false
	}
	g.ln = nil
	return true
}
