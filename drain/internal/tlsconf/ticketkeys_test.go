package tlsconf

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// newest is the key that seals.
func newest(t *TicketKeys) []byte { return t.Export()[0].Key }

func TestTicketKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, err := NewTicketKeys(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.Begin(nil); err != nil {
			t.Fatal(err)
		}
		defer keys.End()
		var made [][]byte
		for day := range 20 {
			made = append(made, newest(keys))
			time.Sleep(ticketRotation - time.Second)
			synctest.Wait()
			if !bytes.Equal(newest(keys), made[day]) {
				t.Fatalf("day %d: rotated too soon", day)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if slices.ContainsFunc(made, func(k []byte) bool { return bytes.Equal(k, newest(keys)) }) {
				t.Fatalf("day %d: not rotated", day)
			}
			// A ticket sealed in the last moment of a day is good for seven more.
			for back, k := range slices.Backward(made) {
				age := day - back // in whole days since it sealed last
				has := slices.ContainsFunc(keys.Export(), func(have TicketKey) bool { return bytes.Equal(have.Key, k) })
				if want := age < 7; has != want {
					t.Fatalf("day %d: the key of day %d opens: %v", day, back, has)
				}
			}
		}
	})
}

// A generation that does not lead must not seal with keys that the one which leads does not know.
func TestTicketKeysStayWithTheMainGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, _ := NewTicketKeys(nil)
		_ = old.Begin(nil)
		next, err := NewTicketKeys(old.Export()) // hello
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(ticketRotation + time.Second)
		synctest.Wait()
		if bytes.Equal(newest(old), newest(next)) {
			t.Fatal("the main generation has not rotated, or the next one has before it was promoted")
		}
		if err := next.Begin(old.End()); err != nil { // promoted
			t.Fatal(err)
		}
		defer next.End()
		if !bytes.Equal(newest(old), newest(next)) {
			t.Error("the keys of the promotion are not in use")
		}
		sealing := newest(old)
		time.Sleep(3 * ticketRotation)
		synctest.Wait()
		old.rotate() // a timer that was too late to be stopped
		if !bytes.Equal(newest(old), sealing) {
			t.Error("the old generation rotates on")
		}
		if len(next.Export()) != 5 {
			t.Errorf("%d keys", len(next.Export()))
		}
	})
}

// One that was promoted by nobody goes on with what it had, and makes up for days that it has missed.
func TestTicketKeysOfAnOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, _ := NewTicketKeys(nil)
		orphan, _ := NewTicketKeys(old.Export())
		time.Sleep(36 * time.Hour)
		_ = orphan.Begin(nil)
		defer orphan.End()
		synctest.Wait()
		keys := orphan.Export()
		if len(keys) != 2 || !bytes.Equal(keys[1].Key, newest(old)) {
			t.Errorf("%d keys; want a new one, and that of the old generation", len(keys))
		}
	})
}

func TestTicketKeysThatCanNotBeUsed(t *testing.T) {
	now := time.Now()
	good := func(age time.Duration) TicketKey {
		return TicketKey{bytes.Repeat([]byte{7}, 32), now.Add(-age)}
	}
	for name, keys := range map[string][]TicketKey{
		"too many": slices.Repeat([]TicketKey{good(0)}, MaxTicketKeys+1),
		"short":    {good(0), {Key: make([]byte, 31), Made: now}},
		"long":     {{Key: bytes.Repeat([]byte{7}, 33), Made: now}},
		"zeros":    {{Key: make([]byte, 32), Made: now}},
		"to come":  {good(-25 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := NewTicketKeys(keys)
			if err == nil || len(got.Export()) != 1 || bytes.Equal(newest(got), keys[0].Key) {
				t.Errorf("%v; %d keys: want an error, and a key of its own", err, len(got.Export()))
			}
			before := newest(got)
			if err := got.Begin(keys); err == nil || !bytes.Equal(newest(got), before) {
				t.Errorf("promoted: %v", err)
			}
			got.End()
		})
	}
	if _, err := NewTicketKeys([]TicketKey{good(0), good(time.Hour)}); err != nil {
		t.Error(err)
	}
}

// Keys differ by server, or a session that one has agreed to would be good for all.
func TestTicketKeysDifferByServer(t *testing.T) {
	k := newTicketKey()
	a, b := ticketUser{name: "tcp 127.0.0.1:1"}, ticketUser{name: "tcp 127.0.0.1:2"}
	again := a.derive(k)
	if a.derive(k) == b.derive(k) || a.derive(k) != again || a.derive(k) == a.derive(newTicketKey()) {
		t.Error("keys are not made of the server and the generation's")
	}
	if a.derive(k) == [32]byte(k.Key) {
		t.Error("the key is the one that goes over the link")
	}
}

func FuzzTicketKeys(f *testing.F) {
	good, _ := json.Marshal([]TicketKey{newTicketKey()})
	f.Add(good)
	f.Add([]byte(`[{"key":"AAAA","made":"2026-01-01T00:00:00Z"}]`))
	f.Add([]byte(`[{"key":null}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var keys []TicketKey
		if json.Unmarshal(text, &keys) != nil {
			return
		}
		for _, k := range []func() *TicketKeys{
			func() *TicketKeys { k, _ := NewTicketKeys(keys); return k },
			func() *TicketKeys { k, _ := NewTicketKeys(nil); _ = k.Begin(keys); return k },
		} {
			got := k()
			config := new(tls.Config)
			got.serve(ticketUser{config, "x"}) // panics without a key
			_ = got.Begin(nil)
			got.rotate()
			sealed := got.End()
			if err := checkTicketKeys(sealed, time.Now().Add(ticketRotation)); err != nil {
				t.Errorf("%v of %s", err, text)
			}
		}
	})
}
