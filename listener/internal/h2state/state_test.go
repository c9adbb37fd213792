package h2state

import (
	"reflect"
	"testing"

	"github.com/baton-go/baton/listener/internal/h2frame"
)

// dialog is what both sides have said on a connection that can move: after SETTINGS, one request
// with 10 bytes, and an answer of 20.
func dialog() (client, server *Half) {
	client, server = NewHalf(true), NewHalf(false)
	said := func(h *Half, frames ...h2frame.Frame) {
		for _, f := range frames {
			f.Length = max(f.Length, len(f.Payload))
			h.Passed(f)
		}
	}
	window := func(n byte) []byte { return []byte{0, 0, 0, n} }
	said(client, h2frame.Frame{Kind: h2frame.TypeSettings, Payload: Settings{WindowSize: 70000}.Payload()},
		h2frame.Frame{Kind: h2frame.TypeWindow, Payload: window(50)},
		h2frame.Frame{Kind: h2frame.TypeWindow, Stream: 1, Payload: window(99)},
		h2frame.Frame{Kind: h2frame.TypeSettings, Flags: h2frame.FlagAck},
		h2frame.Frame{Kind: h2frame.TypeHeaders, Stream: 1,
			Flags: h2frame.FlagPadded | h2frame.FlagPriority, Payload: []byte("\x02abcde" + pathA[:2] + "pp")},
		h2frame.Frame{Kind: h2frame.TypeContinued, Flags: h2frame.FlagEndBlock, Stream: 1, Payload: []byte(pathA[2:])},
		h2frame.Frame{Kind: h2frame.TypeData, Flags: h2frame.FlagEndStream, Stream: 1, Length: 10})
	said(server, h2frame.Frame{Kind: h2frame.TypeSettings, Payload: Settings{MaxStreams: 100}.Payload()},
		h2frame.Frame{Kind: h2frame.TypeWindow, Payload: window(5)},
		h2frame.Frame{Kind: h2frame.TypeSettings, Flags: h2frame.FlagAck},
		h2frame.Frame{Kind: h2frame.TypeData, Flags: h2frame.FlagEndStream, Stream: 1, Length: 20})
	return client, server
}

func TestState(t *testing.T) {
	want := State{Last: 1, Client: Settings{WindowSize: 70000}, Server: Settings{MaxStreams: 100},
		Send: DefaultWindow + 30, Receive: DefaultWindow - 5, TableMax: defaultSize, Table: []byte(pathA)}
	for range 3 { // a connection moves again and again
		client, server := dialog()
		got, ok := At(client, server, 1)
		if !ok || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v, want %+v", got, ok, want)
		}
		read, err := Parse(got.Append(nil))
		if err != nil || !reflect.DeepEqual(read, want) {
			t.Fatalf("%+v, %v, want %+v", read, err, want)
		}
		if again, ok := told(read); !ok || !reflect.DeepEqual(again, want) {
			t.Fatalf("%+v, %v, want %+v", again, ok, want)
		}
	}
}

// told is the state of a connection that has moved and said nothing since.
func told(s State) (State, bool) {
	client, server := s.Halves()
	return At(client, server, s.Last)
}

// A connection of which something is not known, or not settled, does not move.
func TestStateThatCantBeTold(t *testing.T) {
	for name, spoil := range map[string]func(client, server *Half){
		"SETTINGS not acknowledged": func(_, server *Half) { server.Passed(h2frame.Frame{Kind: h2frame.TypeSettings}) },
		"the client leaves":         func(client, _ *Half) { client.Passed(h2frame.Frame{Kind: h2frame.TypeGoAway}) },
		"the server leaves":         func(_, server *Half) { server.Passed(h2frame.Frame{Kind: h2frame.TypeGoAway}) },
		"the server has pushed":     func(_, server *Half) { server.Passed(h2frame.Frame{Kind: h2frame.TypePush}) },
		"headers that nobody knows": func(client, _ *Half) {
			client.Passed(h2frame.Frame{Kind: h2frame.TypeHeaders, Flags: h2frame.FlagEndBlock,
				Payload: []byte{0x7f, 0x10, 0}, Length: 3})
		},
		"headers too long to keep": func(client, _ *Half) {
			client.Passed(h2frame.Frame{Kind: h2frame.TypeHeaders, Flags: h2frame.FlagEndBlock,
				Length: h2frame.MaxKept + 1})
		},
		"SETTINGS too long to keep": func(client, _ *Half) {
			client.Passed(h2frame.Frame{Kind: h2frame.TypeSettings, Length: h2frame.MaxKept + 1})
		},
	} {
		client, server := dialog()
		spoil(client, server)
		if s, ok := At(client, server, 1); ok {
			t.Errorf("%s: %+v", name, s)
		}
	}
	client, server := dialog()
	if s, ok := At(client, server, h2frame.MaxStream); ok {
		t.Errorf("after the last stream: %+v", s)
	}
}

func TestStatesThatAreRefused(t *testing.T) {
	client, server := dialog()
	whole, _ := At(client, server, 1)
	many := Settings{}
	for id := range uint16(maxSettings + 1) {
		many[id] = 1
	}
	written := func(spoil func(*State)) []byte {
		s := whole
		spoil(&s)
		return s.Append(nil)
	}
	for name, b := range map[string][]byte{
		"nothing":               nil,
		"another version":       append([]byte{version + 1}, whole.Append(nil)[1:]...),
		"more behind":           append(whole.Append(nil), 0),
		"less":                  whole.Append(nil)[:len(whole.Append(nil))-1],
		"a stream of no client": written(func(s *State) { s.Last = 2 }),
		"no stream left":        written(func(s *State) { s.Last = maxLast + 1 }),
		"a window too large":    written(func(s *State) { s.Receive = h2frame.MaxStream + 1 }),
		"a table too large":     written(func(s *State) { s.TableMax = maxSize + 1 }),
		"entries too long":      written(func(s *State) { s.Table = make([]byte, maxTable+1) }),
		"spent and not asked":   written(func(s *State) { s.Last, s.Send = 0, DefaultWindow-1 }),
		"too much of a client":  written(func(s *State) { s.Client = many }),
		"too much of a server":  written(func(s *State) { s.Server = many }),
	} {
		if s, err := Parse(b); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// What another process sends may be anything.
func FuzzParse(f *testing.F) {
	client, server := dialog()
	s, _ := At(client, server, 1)
	f.Add(s.Append(nil))
	f.Add([]byte{version + 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		_ = NewOpening(s).Begin()
		if again, err := Parse(s.Append(nil)); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v becomes %+v, %v", s, again, err)
		}
	})
}
