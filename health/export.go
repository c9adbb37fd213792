package health

import (
	"fmt"

	"github.com/baton-go/baton/health/internal/ledger"
)

// Export returns the ledger for [State.Import] in the process that replaces this one, so that a pull right
// after a swap knows its probers. Package drain does that by itself. It leaves out whether the State is
// pulled, and what probers were told. It has 64 KiB at most: those with a rhythm come first, in the order in
// which they have come, and then those seen last. Other versions of this package can read it.
func (s *State) Export() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.Encode(s.now())
}

// Import takes over a ledger that [State.Export] returned. Call it before a Pull that is to wait for these
// probers. Those that s has seen itself keep what it knows of them, and 1024 in all are kept. Where b is not
// such a ledger, the error says why, and nothing has changed.
func (s *State) Import(b []byte) error {
	lines, err := ledger.Parse(b)
	if err != nil {
		return fmt.Errorf("health: import: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine.Import(lines, s.now())
	s.evaluate()
	return nil
}
