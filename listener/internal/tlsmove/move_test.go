package tlsmove

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// certified is a server's configuration with a certificate.
var certified = sync.OnceValue(func() *tls.Config {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	defer srv.Close()
	return &tls.Config{Certificates: srv.TLS.Certificates}
})

// kind is one of connections.
type kind struct {
	version, suite uint16
	moves          bool
}

var kinds = []kind{
	{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, true},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, true},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, false},
}

func (k kind) String() string {
	return fmt.Sprintf("%s %s", tls.VersionName(k.version), tls.CipherSuiteName(k.suite))
}

func (k kind) client() *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, ServerName: "example.com", MinVersion: k.version, MaxVersion: k.version,
		CipherSuites: []uint16{k.suite}, NextProtos: []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
}

func (k kind) server() *tls.Config { return Config(k.config()) }

func (k kind) config() *tls.Config {
	c := certified().Clone()
	c.CipherSuites, c.NextProtos = []uint16{k.suite}, []string{"http/1.1"}
	return c
}

// ticketsOf keeps the sessions: its tickets are names of them, of n bytes.
func (k kind) ticketsOf(n int) *tls.Config {
	c := k.config()
	var sessions sync.Map
	c.WrapSession = func(_ tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		name := make([]byte, n)
		_, _ = rand.Read(name)
		sessions.Store(string(name), s)
		return name, nil
	}
	c.UnwrapSession = func(name []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
		s, _ := sessions.Load(string(name))
		session, _ := s.(*tls.SessionState)
		return session, nil
	}
	return c
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// pair returns the two ends of a TCP connection.
func pair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	ln := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer ln.Close()
	near = must[net.Conn](t)(net.Dial("tcp", ln.Addr().String()))
	far = must[net.Conn](t)(ln.Accept())
	for _, nc := range []net.Conn{near, far} {
		_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { _ = nc.Close() })
	}
	return near, far
}

// shake does the handshake of a First and a client.
func shake(t testing.TB, client, server *tls.Config) (*tls.Conn, *First) {
	t.Helper()
	near, far := pair(t)
	c, s := tls.Client(near, client), Server(far, server)
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }()
	if err := s.Handshake(); err != nil {
		t.Fatal(err, <-done)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c, s
}

// exchange sends text of n bytes each way.
func exchange(t testing.TB, a, b net.Conn, n int) {
	t.Helper()
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		text := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		sent := make(chan error, 1)
		go func() {
			_, err := way[0].Write(text)
			sent <- err
		}()
		got := make([]byte, n)
		_, err := io.ReadFull(way[1], got)
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%T reads %v; write: %v", way[1], err, <-sent)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
}

func below(s Secured) net.Conn {
	nc := s.NetConn()
	if tap, ok := nc.(*tap); ok {
		nc = tap.Conn
	}
	return nc
}

// move goes on with s in what might be another process.
func move(t testing.TB, s Secured) *Conn {
	t.Helper()
	form := must[[]byte](t)(s.Export())
	state := must[*State](t)(ParseState(form))
	return must[*Conn](t)(Adopt(below(s), state))
}

// What is counted is what crypto/tls has counted, and the secrets are its own. A version of Go that keeps
// them otherwise fails here.
func TestStateIsCryptoTLSs(t *testing.T) {
	type ticketed struct {
		kind
		label int // bytes of a ticket; 0: crypto/tls's own
	}
	all := []ticketed{{kinds[0], 19}, {kinds[0], 16}, {kinds[0], 20}, {kinds[1], 19},
		{kind{kinds[0].version, kinds[0].suite, false}, maxLast}} // too long to be looked into
	for _, k := range kinds {
		all = append(all, ticketed{kind: k})
	}
	for _, k := range all {
		t.Run(fmt.Sprintf("%v %d", k, k.label), func(t *testing.T) {
			client, server := k.client(), k.server()
			if k.label > 0 {
				server = Config(k.ticketsOf(k.label))
			}
			for _, resumed := range []bool{false, true} {
				c, s := shake(t, client, server)
				exchange(t, c, s, 1) // by which a client of TLS 1.3 gets its ticket
				exchange(t, c, s, 50_000)
				if cs := s.ConnectionState(); cs.DidResume != resumed || cs.CipherSuite != k.suite {
					t.Fatalf("resumed is %v, the suite %s", cs.DidResume, tls.CipherSuiteName(cs.CipherSuite))
				}
				if s.Movable() != k.moves {
					t.Fatalf("Movable is %v", s.Movable())
				}
				form, err := s.Export()
				if !k.moves {
					if err == nil {
						t.Error("it was exported")
					}
					continue
				}
				st := must[*State](t)(ParseState(append([]byte(nil), form...)))
				if err != nil || len(form) > MaxState {
					t.Fatalf("%d bytes, %v", len(form), err)
				}
				for name, h := range map[string]Half{"in": st.In, "out": st.Out} {
					own := reflect.ValueOf(s.Conn).Elem().FieldByName(name)
					seq := *(*[8]byte)(unsafe.Pointer(own.FieldByName("seq").UnsafeAddr()))
					if n := binary.BigEndian.Uint64(seq[:]); n != h.Seq {
						t.Errorf("%s: %d records are counted, crypto/tls has %d", name, h.Seq, n)
					}
					secret := own.FieldByName("trafficSecret").Bytes()
					if k.version == tls.VersionTLS13 && !bytes.Equal(secret, h.Secret) {
						t.Errorf("%s: another secret", name)
					}
				}
				s.Keep()
				m := move(t, s)
				if got, want := m.ConnectionState(), s.ConnectionState(); !sameState(got, want) {
					t.Errorf("the state is\n%+v, was\n%+v", got, want)
				}
				for range 3 {
					exchange(t, c, m, 1)
					exchange(t, c, m, 50_000)
					m = move(t, m)
				}
				if err := m.Close(); err != nil {
					t.Error(err)
				}
				if _, err := c.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the client got %v, want close_notify", err)
				}
			}
		})
	}
}

// A ticket is counted whatever its length, such as a Finished's.
func TestCountSealed(t *testing.T) {
	for _, s := range []*suite{&aes128, &aes256} {
		for tickets := range 4 {
			last := bytes.Repeat([]byte{1}, s.size)
			seal := func(secret []byte, n int) (record []byte) {
				h := must[*half](t)(newHalf(tls.VersionTLS13, s, Half{Secret: secret}))
				for range n {
					record = must[[]byte](t)(h.seal(nil, typeHandshake, make([]byte, 4+s.size)))
				}
				return record
			}
			record := seal(bytes.Repeat([]byte{2}, s.size), 4) // up to the Finished
			if tickets > 0 {
				record = seal(last, tickets)
			}
			if n, err := countSealed(record, uint64(4+tickets), s, last); int(n) != tickets || err != nil {
				t.Errorf("%d of %d, %v", n, tickets, err)
			}
		}
	}
}

// Sessions are resumed as with crypto/tls alone, whatever hooks a config has, and by another listener of it.
func TestSessionsResume(t *testing.T) {
	wrap := func(c *tls.Config) { c.WrapSession = c.EncryptTicket }
	unwrap := func(c *tls.Config) { c.UnwrapSession = c.DecryptTicket }
	for name, prepare := range map[string]func(c *tls.Config){
		"no hook": func(*tls.Config) {}, "WrapSession": wrap, "UnwrapSession": unwrap,
		"both":        func(c *tls.Config) { wrap(c); unwrap(c) },
		"its own key": func(c *tls.Config) { c.SetSessionTicketKeys([][32]byte{{1}}) },
		"a legacy key, WrapSession": func(c *tls.Config) {
			c.SessionTicketKey = [32]byte{1}
			wrap(c)
		},
	} {
		for _, k := range kinds[:2] {
			t.Run(fmt.Sprint(name, " ", k), func(t *testing.T) {
				client, config := k.client(), k.config()
				prepare(config)
				one, other := Config(config), Config(config)
				for i, server := range []*tls.Config{one, one, other} {
					c, s := shake(t, client, server)
					exchange(t, c, s, 1)
					exchange(t, s, c, 1)
					if resumed := s.ConnectionState().DidResume; resumed != (i > 0) {
						t.Errorf("handshake %d: resumed is %v", i, resumed)
					}
				}
			})
		}
	}
}

func sameState(a, b tls.ConnectionState) bool {
	v, w := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "LocalCertificate" {
			continue
		}
		if !reflect.DeepEqual(v.Field(i).Interface(), w.Field(i).Interface()) {
			return false
		}
	}
	_, err := a.ExportKeyingMaterial("label", nil, 1)
	return err != nil && strings.Contains(err.Error(), "unavailable")
}

// splitter is below a client of TLS 1.2. It seals the client's Finished in two records, and what follows once more.
type splitter struct {
	net.Conn
	log     bytes.Buffer // the client's key log
	randoms [2]random
	changed bool
	in, out *half // of the client's records, as it seals them and as they go out
}

func (s *splitter) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.randoms[1].feed(p[:n])
	return n, err
}

func (s *splitter) Write(p []byte) (int, error) {
	s.randoms[0].feed(p)
	var sent []byte
	for rest := bytes.Clone(p); len(rest) > 0; {
		record := rest[:sizeOf(rest)]
		rest = rest[len(record):]
		if !s.changed {
			sent = append(sent, record...)
			s.changed = record[0] == typeCipherChange
			continue
		}
		if s.in == nil {
			line := bytes.Fields(s.log.Bytes())
			master, err := hex.DecodeString(string(line[2]))
			if err != nil {
				return 0, err
			}
			key, _ := aes128.keyBlock(master, s.randoms[0].take(clientHello), s.randoms[1].take(serverHello))
			s.in, _ = newHalf(tls.VersionTLS12, &aes128, Half{Secret: key})
			s.out, _ = newHalf(tls.VersionTLS12, &aes128, Half{Secret: key})
		}
		typ, text, alert := s.in.open(record)
		if alert != 0 {
			return 0, alert
		}
		if typ == typeHandshake {
			sent, _ = s.out.seal(sent, typ, text[:1])
			text = text[1:]
		}
		sent, _ = s.out.seal(sent, typ, text)
	}
	_, err := s.Conn.Write(sent)
	return len(p), err
}

// A client of TLS 1.2 may send its Finished in pieces: each has a number.
func TestFinishedInPieces(t *testing.T) {
	near, far := pair(t)
	split := &splitter{Conn: near}
	config := kinds[1].client()
	config.KeyLogWriter = &split.log
	c, s := tls.Client(split, config), Server(far, kinds[1].server())
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }()
	if err := cmp.Or(s.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	exchange(t, c, s, 50_000)
	exchange(t, c, move(t, s), 50_000)
}

// corked holds back what is written behind the first flight.
type corked struct {
	net.Conn
	flights int
	held    bytes.Buffer
}

func (c *corked) Write(p []byte) (int, error) {
	if c.flights++; c.flights == 1 {
		return c.Conn.Write(p)
	}
	return c.held.Write(p)
}

// A client may send data in one segment with its Finished. They are counted as what is behind the handshake, since
// crypto/tls is handed out no byte beyond the record for which it asks.
func TestDataBehindTheFinished(t *testing.T) {
	for _, k := range kinds[:2] {
		t.Run(k.String(), func(t *testing.T) {
			client, server := k.client(), k.server()
			c, s := shake(t, client, server)
			exchange(t, c, s, 1) // by which a client of TLS 1.3 gets its ticket: in TLS 1.2 its Finished is last then
			near, far := pair(t)
			cork := &corked{Conn: near}
			c, s = tls.Client(cork, client), Server(far, server)
			done := make(chan error, 1)
			go func() { done <- s.Handshake() }()
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			must[int](t)(c.Write([]byte("data")))
			must[int64](t)(cork.held.WriteTo(near))
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			must[int](t)(io.ReadFull(s, make([]byte, 4)))
			m := move(t, s)
			must[int](t)(m.Write([]byte("data")))
			must[int](t)(io.ReadFull(c, make([]byte, 4)))
			must[int](t)(c.Write([]byte("more")))
			must[int64](t)(cork.held.WriteTo(near))
			must[int](t)(io.ReadFull(m, make([]byte, 4)))
		})
	}
}
