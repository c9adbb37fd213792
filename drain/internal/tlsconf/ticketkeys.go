// Package tlsconf keeps the certificates and the session ticket keys of servers that speak TLS
// fresh, across generations.
package tlsconf

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

// What crypto/tls does with the keys that it makes by itself. A ticket is good for seven days (RFC 8446, 4.6.1).
const (
	ticketRotation = 24 * time.Hour
	ticketLife     = 7 * 24 * time.Hour
)

// MaxTicketKeys is more than a day's rotation leaves, even when some generations have made their own.
const MaxTicketKeys = 16

// TicketKey is what session tickets are sealed with, or what their keys are made of: see ticketUser.
type TicketKey struct {
	Key  []byte    `json:"key"`
	Made time.Time `json:"made"`
}

// TicketKeys are the session ticket keys of all generations. The first generation makes one, the main
// one adds one each day, and each gives them to the next. They are kept nowhere else: a service that was
// stopped starts with new ones.
type TicketKeys struct {
	mu    sync.Mutex   // guards what follows
	keys  []TicketKey  // the newest first, which seals; the others still open. At least one
	users []ticketUser // whose keys these are
	timer *time.Timer  // of the next rotation; nil where this is not the main generation
}

// ticketUser is the configuration of one server. Its keys are derived from ours and from its name, so
// that a session with one server can't be resumed with another, which may require other client
// certificates.
type ticketUser struct {
	config *tls.Config
	name   string // the same in each generation, unless the keys are to be another's
}

func (u ticketUser) derive(k TicketKey) (key [32]byte) {
	h := hmac.New(sha256.New, k.Key)
	_, _ = h.Write([]byte("session tickets of " + u.name))
	h.Sum(key[:0])
	return key
}

// NewTicketKeys begins with the keys of the generation before. Those that can't be used are an error, and replaced.
func NewTicketKeys(inherited []TicketKey) (*TicketKeys, error) {
	err := checkTicketKeys(inherited, time.Now())
	t := &TicketKeys{keys: inherited}
	if err != nil || len(inherited) == 0 {
		t.keys = []TicketKey{newTicketKey()}
	}
	return t, err
}

func newTicketKey() TicketKey {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return TicketKey{key, time.Now().Round(0)}
}

// checkTicketKeys checks the keys that have come over the link. There are MaxTicketKeys at most, and none is weak. None
// is from a clock so far ahead that it would not be replaced in time.
func checkTicketKeys(keys []TicketKey, now time.Time) error {
	if len(keys) > MaxTicketKeys {
		return fmt.Errorf("%d session ticket keys: more than %d", len(keys), MaxTicketKeys)
	}
	for i, k := range keys {
		switch {
		case len(k.Key) != 32:
			return fmt.Errorf("session ticket key %d has %d bytes instead of 32", i, len(k.Key))
		case [32]byte(k.Key) == [32]byte{}:
			return fmt.Errorf("session ticket key %d is all zeros", i)
		case k.Made.Sub(now) > ticketRotation:
			return fmt.Errorf("session ticket key %d is of %v, which is to come", i, k.Made)
		}
	}
	return nil
}

// serve gives config the keys, those there are and those to come.
func (t *TicketKeys) serve(u ticketUser) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.users = append(t.users, u)
	t.apply()
}

// apply is called with mu held.
func (t *TicketKeys) apply() {
	for _, u := range t.users {
		var keys [][32]byte
		for _, k := range t.keys {
			keys = append(keys, u.derive(k))
		}
		u.config.SetSessionTicketKeys(keys)
	}
}

// Begin is told that this generation is the main one, which rotates the keys; inherited are those that the old one had
// at its end, or none.
func (t *TicketKeys) Begin(inherited []TicketKey) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := checkTicketKeys(inherited, time.Now())
	if err == nil && len(inherited) > 0 {
		t.keys = inherited
		t.apply()
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(t.due(), t.rotate)
	}
	return err
}

// End is told that this generation is not the main one any more, and returns the keys for the next.
func (t *TicketKeys) End() []TicketKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	return t.keys
}

// Export returns the keys as they are.
func (t *TicketKeys) Export() []TicketKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.keys
}

func (t *TicketKeys) due() time.Duration {
	return max(0, time.Until(t.keys[0].Made.Add(ticketRotation)))
}

// rotate makes a new key, and forgets those that no ticket is sealed with any more.
func (t *TicketKeys) rotate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		return
	}
	keys := []TicketKey{newTicketKey()}
	for _, k := range t.keys {
		// It has sealed until the next was made, a day later, and its tickets live on.
		if time.Since(k.Made) < ticketRotation+ticketLife && len(keys) < MaxTicketKeys {
			keys = append(keys, k)
		}
	}
	t.keys = keys // a new slice: others read the old one
	t.apply()
	t.timer.Reset(t.due())
}
