package tlsmove

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// peer is a client of which the test makes each record.
type peer struct {
	net.Conn
	in, out *half
	version uint16
}

// meet returns a connection that has moved, and its client.
func meet(t testing.TB, version uint16, s *suite, id uint16) (*peer, *Conn) {
	t.Helper()
	near, far := pair(t)
	secret := func(b byte) []byte { return []byte(strings.Repeat(string('a'+b), s.secretLen(version))) }
	st := &State{Version: version, Suite: id, In: Half{secret(1), 5}, Out: Half{secret(2), 7}}
	in := must[*half](t)(newHalf(version, s, st.Out))
	out := must[*half](t)(newHalf(version, s, st.In))
	return &peer{near, in, out, version}, must[*Conn](t)(Adopt(far, st))
}

// record is one with that type and that text, padded by n zeros where that is possible.
func (p *peer) record(typ byte, text string, n int) []byte {
	if p.version == tls.VersionTLS12 || n == 0 && typ != 0 {
		b, _ := p.out.seal(nil, typ, []byte(text))
		return b
	}
	b, _ := p.out.seal(nil, 0, append(append([]byte(text), typ), make([]byte, max(0, n-1))...)) // which adds a zero
	return b
}

func (p *peer) data(text string) []byte { return p.record(typeData, text, 0) }

// answer reads a record of the server's.
func (p *peer) answer() (byte, string, error) {
	head := make([]byte, headLen)
	if _, err := io.ReadFull(p.Conn, head); err != nil {
		return 0, "", err
	}
	rest := make([]byte, sizeOf(head)-headLen)
	if _, err := io.ReadFull(p.Conn, rest); err != nil {
		return 0, "", err
	}
	typ, text, alert := p.in.open(append(head, rest...))
	if alert != 0 {
		return 0, "", alert
	}
	return typ, string(text), nil
}

// each runs f for each version and suite.
func each(t *testing.T, f func(t *testing.T, p *peer, c *Conn)) {
	for _, k := range []kind{
		{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, true},
		{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, true},
	} {
		t.Run(k.String(), func(t *testing.T) {
			p, c := meet(t, k.version, suiteOf(k.version, k.suite), k.suite)
			f(t, p, c)
		})
	}
}

const (
	update      = "\x18\x00\x00\x01\x00"
	updateAsked = "\x18\x00\x00\x01\x01"
)

// What a client may not send ends the connection, by the alert that the RFCs name, and by nothing worse; nothing behind
// it is read. What it may send is heeded.
func TestRecordsOfStrangers(t *testing.T) {
	flip := func(b []byte, at int) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
	only := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}
	asAlert := func(p *peer) []byte { b := p.data("hello"); b[0] = typeAlert; return b }
	long := strings.Repeat("x", maxPlaintext+1)
	record := func(typ byte, text string) func(*peer) []byte {
		return func(p *peer) []byte { return p.record(typ, text, 0) }
	}
	for name, x := range map[string]struct {
		send  func(p *peer) []byte
		in    string // versions, "" for both
		alert tls.AlertError
		reads string // before it
	}{
		"changed":        {func(p *peer) []byte { return flip(p.data("hello"), -1) }, "", alertBadMAC, ""},
		"changed length": {func(p *peer) []byte { return append(flip(p.data("hello"), 4), 0) }, "", alertBadMAC, ""},
		"another type":   {asAlert, "1.2", alertBadMAC, ""},
		"a plain alert":  {asAlert, "1.3", alertUnexpected, ""},
		"version":        {func(p *peer) []byte { b := p.data("hello"); b[2] = 1; return b }, "", alertVersion, ""},
		"repeated":       {func(p *peer) []byte { b := p.data("x"); return append(b, b...) }, "", alertBadMAC, "x"},
		"left out":       {func(p *peer) []byte { p.data("a"); return p.data("b") }, "", alertBadMAC, ""},
		"short":          {func(p *peer) []byte { return []byte{typeData, 3, 3, 0, 3, 1, 2, 3} }, "", alertBadMAC, ""},
		"empty":          {func(p *peer) []byte { return []byte{typeData, 3, 3, 0, 0} }, "", alertBadMAC, ""},
		"long":           {func(p *peer) []byte { return []byte{typeData, 3, 3, 0xff, 0xff} }, "", alertOverflow, ""},
		"long inside":    {func(p *peer) []byte { return p.data(long) }, "", alertOverflow, ""},
		"all padding":    {func(p *peer) []byte { return p.record(0, "", 10) }, "1.3", alertUnexpected, ""},
		"unknown type":   {func(p *peer) []byte { return p.record(99, "x", 0) }, "", alertUnexpected, ""},
		"reordered": {func(p *peer) []byte {
			a, b := p.data("a"), p.data("b")
			return append(b, a...)
		}, "", alertBadMAC, ""},
		"a flood of empty records": {func(p *peer) (all []byte) {
			for range maxUseless + 1 {
				all = append(all, p.data("")...)
			}
			return all
		}, "", alertUnexpected, ""},
		"a flood of key updates": {func(p *peer) (all []byte) {
			for range maxUseless + 1 {
				all = append(all, p.record(typeHandshake, update, 0)...)
				_ = p.out.update()
			}
			return all
		}, "1.3", alertUnexpected, ""},
		"a flood of warnings": {func(p *peer) (all []byte) {
			for range maxUseless + 1 {
				all = append(all, p.record(typeAlert, "\x01\x5a", 0)...)
			}
			return all
		}, "", alertUnexpected, ""},
		"renegotiation":            {record(typeHandshake, "\x00\x00\x00\x00"), "", alertUnexpected, ""},
		"two updates in a record":  {record(typeHandshake, update+update), "1.3", alertUnexpected, ""},
		"an update of two bytes":   {record(typeHandshake, "\x18\x00\x00\x02\x00"), "1.3", alertDecode, ""},
		"an update with a 2":       {record(typeHandshake, "\x18\x00\x00\x01\x02"), "1.3", alertIllegal, ""},
		"a handshake of no length": {record(typeHandshake, ""), "1.3", alertUnexpected, ""},
		"long alert":               {record(typeAlert, "\x01\x00\x00"), "", alertUnexpected, ""},
		"half an update, data": {func(p *peer) []byte {
			return append(p.record(typeHandshake, update[:2], 0), p.data("x")...)
		}, "1.3", alertUnexpected, ""},
		"old keys behind an update": {func(p *peer) []byte {
			return append(p.record(typeHandshake, update, 0), p.data("x")...)
		}, "1.3", alertBadMAC, ""},
		"fine until it is not": {func(p *peer) []byte {
			return append(p.data("fine"), flip(p.data("x"), 7)...)
		}, "", alertBadMAC, "fine"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, p *peer, c *Conn) {
				if x.in != "" && x.in != only[p.version] {
					return // there is no such thing in this version
				}
				must[int](t)(p.Write(x.send(p)))
				got, err := io.ReadAll(c)
				var op *net.OpError
				if !errors.As(err, &op) || op.Err != x.alert || string(got) != x.reads {
					t.Errorf("read %q, %v, want %q, %v", got, err, x.reads, x.alert)
				}
				typ, text, err := p.answer()
				if err != nil || typ != typeAlert || text != string([]byte{levelFatal, byte(x.alert)}) {
					t.Errorf("the client got %d %q, %v", typ, text, err)
				}
				if _, err := c.Write([]byte("x")); err == nil {
					t.Error("it writes on")
				}
				if _, err := c.Export(); err == nil {
					t.Error("it moves on")
				}
			})
		})
	}
}

// What a client may send does no harm, in whichever pieces it comes, and the connection moves behind it.
func TestRecordsOfClients(t *testing.T) {
	each(t, func(t *testing.T, p *peer, c *Conn) {
		modern := p.version == tls.VersionTLS13
		send := func(pieces ...[]byte) {
			for _, b := range pieces {
				for len(b) > 0 {
					n := 1 + rand.N(min(len(b), 1+rand.N(40)))
					must[int](t)(p.Write(b[:n]))
					b = b[n:]
				}
			}
		}
		read := func(want string) {
			t.Helper()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Fatalf("%q, %v, want %q", got, err, want)
			}
		}
		for range 5 {
			send(p.data("a"), p.data(""), p.record(typeAlert, "\x01\x5a", 0), p.data(strings.Repeat("b", 1000)))
			read("a" + strings.Repeat("b", 1000))
			if modern {
				send(p.record(typeData, "padded", 300),
					p.record(typeHandshake, update[:3], 5), p.record(typeHandshake, update[3:], 0))
				_ = p.out.update()
				send(p.data("new"), p.record(typeHandshake, updateAsked, 0))
				_ = p.out.update()
				send(p.data("newer"))
				read("paddednewnewer")
				if typ, text, err := p.answer(); typ != typeHandshake || text != update || err != nil {
					t.Fatalf("%d %q, %v, want an update", typ, text, err)
				}
				_ = p.in.update()
			}
			must[int](t)(c.Write([]byte("answer")))
			if typ, text, err := p.answer(); typ != typeData || text != "answer" || err != nil {
				t.Fatalf("%d %q, %v", typ, text, err)
			}
			half := p.data("half")
			send(half[:9])
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); err == nil || !err.(net.Error).Timeout() {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Time{})
			if _, err := c.Export(); err != errPartial {
				t.Errorf("with a part of a record: %v", err)
			}
			send(half[9:])
			read("half")
			c = move(t, c)
		}
		send(p.record(typeAlert, "\x01\x00", 0))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("behind close_notify: %v", err)
		}
	})
}

// How a client's alert ends the connection, if it does.
func TestAlertsOfClients(t *testing.T) {
	const failure = tls.AlertError(40)
	for text, ends := range map[string][2]error{ // in TLS 1.2, and in 1.3
		"\x01\x00": {io.EOF, io.EOF},
		"\x02\x00": {io.EOF, io.EOF},
		"\x01\x5a": {nil, nil},
		"\x02\x5a": {alertCanceled, nil},
		"\x01\x28": {nil, failure},
		"\x02\x28": {failure, failure},
		"\x03\x28": {alertUnexpected, failure},
	} {
		each(t, func(t *testing.T, p *peer, c *Conn) {
			must[int](t)(p.Write(append(p.record(typeAlert, text, 0), p.data("x")...)))
			want := ends[p.version-tls.VersionTLS12]
			if n, err := c.Read(make([]byte, 1)); !errors.Is(err, want) || (err == nil) != (n == 1) {
				t.Errorf("behind %q: %d bytes, %v, want %v", text, n, err, want)
			}
		})
	}
}

// A client that has updated its keys stays, whatever it pads and sends later; one that pads alone moves.
func TestClientsThatPadOrUpdate(t *testing.T) {
	for name, x := range map[string]struct {
		sends []string // "+" pads, "!" updates
		moves bool
	}{
		"plain":              {[]string{"a", "b"}, true},
		"padded":             {[]string{"+a"}, true},
		"padded late":        {[]string{"a", "+b"}, false},
		"padded later":       {[]string{"a", "+b", "+c"}, true},
		"padded once":        {[]string{"+a", "b", "c"}, true},
		"very long":          {[]string{"+" + strings.Repeat("x", maxKept)}, false},
		"long, then short":   {[]string{"+" + strings.Repeat("x", maxKept), "b"}, true},
		"updated":            {[]string{"a", "!"}, false},
		"updated, then data": {[]string{"a", "!", "b"}, false},
		"updated at once":    {[]string{"!"}, false},
		"padded update":      {[]string{"+a", "+!", "+b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := shake(t, kinds[0].client(), kinds[0].server())
			must[int](t)(s.Write([]byte("x")))
			must[int](t)(c.Read(make([]byte, 1))) // and the ticket
			st := must[*State](t)(ParseState(must[[]byte](t)(s.Export())))
			s.Keep()
			p := &peer{Conn: c.NetConn(), version: tls.VersionTLS13}
			p.out = must[*half](t)(newHalf(p.version, &aes128, st.In))
			for _, text := range x.sends {
				text, padded := strings.CutPrefix(text, "+")
				n := 0
				if padded {
					n = 50
				}
				if text == "!" {
					must[int](t)(p.Write(p.record(typeHandshake, update, n)))
					_ = p.out.update()
					_ = s.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
					if _, err := s.Read(make([]byte, 1)); err == nil || !err.(net.Error).Timeout() {
						t.Fatal(err)
					}
					_ = s.SetReadDeadline(time.Now().Add(time.Minute))
					continue
				}
				must[int](t)(p.Write(p.record(typeData, text, n)))
				got := make([]byte, len(text))
				if _, err := io.ReadFull(s, got); err != nil || string(got) != text {
					t.Fatalf("%q, %v", got, err)
				}
			}
			if _, err := s.Export(); (err == nil) != x.moves {
				t.Errorf("it moves: %v; want %v", err, x.moves)
			}
		})
	}
}
