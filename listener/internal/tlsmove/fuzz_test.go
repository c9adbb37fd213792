package tlsmove

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

func TestStatesThatAreRefused(t *testing.T) {
	for _, k := range kinds[:2] {
		secret := make([]byte, suiteOf(k.version, k.suite).secretLen(k.version))
		written := func(spoil func(*State)) []byte {
			s := State{Version: k.version, Suite: k.suite, ServerName: "x", In: Half{secret, 1}, Out: Half{secret, 2}}
			spoil(&s)
			return s.AppendBinary(nil)
		}
		whole := written(func(*State) {})
		must[*State](t)(ParseState(whole))
		flags := bytes.Clone(whole)
		flags[1] |= flagRetried << 1
		all := map[string][]byte{
			"another version":   append([]byte{formVersion + 1}, whole[1:]...),
			"an unknown flag":   flags,
			"more behind":       append(bytes.Clone(whole), 0),
			"an unknown suite":  written(func(s *State) { s.Suite = tls.TLS_CHACHA20_POLY1305_SHA256 }),
			"a short secret":    written(func(s *State) { s.In.Secret = secret[1:] }),
			"a short other one": written(func(s *State) { s.Out.Secret = secret[1:] }),
		}
		for n := range whole {
			all[fmt.Sprintf("%d bytes", n)] = whole[:n]
		}
		for name, b := range all {
			if s, err := ParseState(b); err == nil {
				t.Errorf("%s, %s: %+v", k, name, s)
			}
		}
	}
}

// FuzzState: what ParseState takes is what AppendBinary would write.
func FuzzState(f *testing.F) {
	for _, k := range kinds[:2] {
		s := suiteOf(k.version, k.suite)
		secret := make([]byte, s.secretLen(k.version))
		state := State{
			Version: k.version, Suite: k.suite, ServerName: "x",
			In: Half{secret, 1}, Out: Half{secret, 2},
		}
		f.Add(state.AppendBinary(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseState(b)
		if err != nil {
			return
		}
		if again := s.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x\n%x", b, again)
		}
		c, err := Adopt(pipe{}, s)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x"))
		_ = c.Close()
	})
}

// pipe reads from a buffer, and writes nowhere.
type pipe struct{ from *bytes.Reader }

func (p pipe) Read(b []byte) (int, error)     { return p.from.Read(b) }
func (pipe) Write(b []byte) (int, error)      { return len(b), nil }
func (pipe) Close() error                     { return nil }
func (pipe) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (pipe) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (pipe) SetDeadline(time.Time) error      { return nil }
func (pipe) SetReadDeadline(time.Time) error  { return nil }
func (pipe) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnRecords: a client that knows the keys may send any records: each three bytes of its script are one, of that
// type and length, and what is done with it. Data come as they were sent up to the first fault, and nothing panics.
func FuzzConnRecords(f *testing.F) {
	f.Add([]byte{23, 5, 0, 23, 9, 0, 21, 2, 0}, true)
	f.Add([]byte{22, 5, 1, 23, 5, 0, 22, 5, 2, 23, 200, 3}, true)
	f.Add([]byte{23, 5, 4, 20, 1, 0, 23, 0, 0, 0, 7, 0}, false)
	f.Fuzz(func(t *testing.T, script []byte, modern bool) {
		version, id := uint16(tls.VersionTLS12), tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
		if modern {
			version, id = tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256
		}
		st := &State{Version: version, Suite: id}
		st.In.Secret, st.Out.Secret = make([]byte, aes128.secretLen(version)), make([]byte, aes128.secretLen(version))
		out, err := newHalf(version, &aes128, st.In)
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{out: out, version: version}
		var wire, sent []byte
		for ; len(script) >= 3 && len(wire) < 1<<16; script = script[3:] {
			typ, text, how := script[0], bytes.Repeat(script[:1], int(script[1])), script[2]
			if typ == typeHandshake && how < 3 {
				text = append([]byte(update)[:4], how)
			}
			b := p.record(typ, string(text), int(how))
			switch {
			case how == 3:
				b[int(script[1])%len(b)]++
			case how == 4:
				b = b[:len(b)-1]
			case typ == typeHandshake && how < 2 && modern:
				_ = out.update()
			case typ == typeData:
				sent = append(sent, text...)
			}
			wire = append(wire, b...)
		}
		c, err := Adopt(pipe{bytes.NewReader(wire)}, st)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if !bytes.HasPrefix(sent, got) {
			t.Errorf("%v\n%q is not the beginning of\n%q", err, got, sent)
		}
		if _, again := c.Read(make([]byte, 1)); again == nil || err != nil && !errors.Is(again, err) && again != err {
			t.Errorf("%v, then %v", err, again)
		}
		_ = c.Close()
	})
}

// FuzzFirst: whatever a client that knows the keys sends to crypto/tls: what is exported goes on.
func FuzzFirst(f *testing.F) {
	f.Add([]byte{23, 5, 0, 23, 9, 0}, true)
	f.Add([]byte{23, 5, 1, 22, 5, 2, 23, 5, 0}, true)
	f.Add([]byte{22, 5, 0, 23, 5, 0}, true)
	f.Add([]byte{23, 5, 0, 23, 0, 0}, false)
	f.Fuzz(func(t *testing.T, script []byte, modern bool) {
		k := kinds[1]
		if modern {
			k = kinds[0]
		}
		c, s := shake(t, k.client(), k.server())
		st, err := ParseState(must[[]byte](t)(s.Export()))
		if err != nil {
			t.Fatal(err)
		}
		s.Keep()
		p := &peer{Conn: c.NetConn(), version: k.version}
		p.out = must[*half](t)(newHalf(k.version, suiteOf(k.version, k.suite), st.In))
		if len(script) > 60 {
			script = script[:60]
		}
		sent := uint64(0)
		for ; len(script) >= 3; script = script[3:] {
			typ, text, how := script[0], bytes.Repeat(script[:1], int(script[1])), script[2]
			if typ == typeHandshake {
				text = []byte(update)
			}
			n, err := p.Write(p.record(typ, string(text), int(how)))
			if sent += uint64(n); err != nil {
				break
			}
			if typ == typeHandshake && modern {
				_ = p.out.update()
			}
		}
		for in := &s.tap.in; in.bytes+headLen*in.records < sent || in.partial(); {
			_ = s.SetReadDeadline(time.Now().Add(time.Millisecond))
			var late net.Error
			if _, err = s.Read(make([]byte, 100)); err != nil && (!errors.As(err, &late) || !late.Timeout()) {
				return // the connection is over
			}
		}
		form, err := s.Export()
		if err != nil {
			return // a part of what came waits in crypto/tls, or it was no data
		}
		m := must[*Conn](t)(Adopt(below(s), must[*State](t)(ParseState(form))))
		_ = m.SetDeadline(time.Now().Add(time.Second))
		must[int](t)(p.Write(p.data("behind")))
		got := make([]byte, 6)
		if _, err := io.ReadFull(m, got); err != nil || string(got) != "behind" {
			t.Errorf("%q, %v", got, err)
		}
	})
}
