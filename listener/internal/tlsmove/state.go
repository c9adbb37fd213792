package tlsmove

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
)

// State is all that a connection needs to go on elsewhere.
type State struct {
	Version, Suite uint16
	In, Out        Half

	// What handlers may ask for.
	Curve      uint16
	Resumed    bool
	ECH        bool // the client's hello was encrypted
	Retried    bool // by a HelloRetryRequest
	ServerName string
	ALPN       string
	Unique     []byte // TLS 1.2: see tls.ConnectionState.TLSUnique
}

// The binary form: its version, then as in AppendBinary. What is new gets another version, which an older process
// refuses.
const (
	formVersion = 1
	maxName     = 255
	// MaxState is the most that a State has in binary form, in bytes.
	MaxState = 1 << 10
)

const (
	flagResumed = 1 << iota
	flagECH
	flagRetried
)

// AppendBinary appends the binary form to b.
func (s *State) AppendBinary(b []byte) []byte {
	var flags byte
	for i, set := range []bool{s.Resumed, s.ECH, s.Retried} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(b, formVersion, flags)
	for _, n := range []uint16{s.Version, s.Suite, s.Curve} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	for _, h := range []Half{s.In, s.Out} {
		b = binary.BigEndian.AppendUint64(b, h.Seq)
		b = append(append(b, byte(len(h.Secret))), h.Secret...)
	}
	for _, text := range []string{s.ServerName, s.ALPN, string(s.Unique)} {
		b = append(append(b, byte(len(text))), text...)
	}
	return b
}

var errForm = errors.New("tlsmove: not the state of a connection")

// ParseState returns the State of a binary form. It shares nothing with b.
func ParseState(b []byte) (*State, error) {
	if len(b) == 0 || b[0] != formVersion {
		return nil, errors.New("tlsmove: the state of a connection is of another version of this library")
	}
	r := reader{rest: b[1:]}
	s := new(State)
	flags := r.bytes(1)
	for _, n := range []*uint16{&s.Version, &s.Suite, &s.Curve} {
		*n = binary.BigEndian.Uint16(r.bytes(2))
	}
	for _, h := range []*Half{&s.In, &s.Out} {
		h.Seq = binary.BigEndian.Uint64(r.bytes(8))
		h.Secret = append([]byte(nil), r.short()...)
	}
	s.ServerName, s.ALPN = string(r.short()), string(r.short())
	s.Unique = append([]byte(nil), r.short()...)
	var err error
	switch suite := suiteOf(s.Version, s.Suite); {
	case r.broken || len(r.rest) > 0 || flags[0]&^(flagResumed|flagECH|flagRetried) != 0:
		err = errForm
	case suite == nil:
		err = fmt.Errorf("tlsmove: %s with %s can't be moved", tls.VersionName(s.Version), tls.CipherSuiteName(s.Suite))
	case len(s.In.Secret) != suite.secretLen(s.Version) || len(s.Out.Secret) != suite.secretLen(s.Version):
		err = errForm
	}
	if err != nil {
		s.Wipe()
		return nil, err
	}
	s.Resumed, s.ECH, s.Retried = flags[0]&flagResumed != 0, flags[0]&flagECH != 0, flags[0]&flagRetried != 0
	return s, nil
}

// reader takes a form apart. Once it is broken, it returns zeros.
type reader struct {
	rest   []byte
	broken bool
}

var zeros [maxName]byte

func (r *reader) bytes(n int) []byte {
	if r.broken = r.broken || len(r.rest) < n; r.broken {
		return zeros[:n]
	}
	p := r.rest[:n]
	r.rest = r.rest[n:]
	return p
}

func (r *reader) short() []byte { return r.bytes(int(r.bytes(1)[0])) }

// Wipe overwrites the secrets.
func (s *State) Wipe() {
	clear(s.In.Secret)
	clear(s.Out.Secret)
}

// Permits tells whether a server of config would speak as s does: its version and its suite.
func (s *State) Permits(config *tls.Config) error {
	least, most := config.MinVersion, config.MaxVersion
	if least != 0 && s.Version < least || most != 0 && s.Version > most {
		return fmt.Errorf("tlsmove: the tls.Config does not permit %s", tls.VersionName(s.Version))
	}
	if s.Version == tls.VersionTLS13 {
		return nil // whose suites can not be chosen
	}
	for _, id := range permitted(config) {
		if id == s.Suite {
			return nil
		}
	}
	return fmt.Errorf("tlsmove: the tls.Config does not permit %s", tls.CipherSuiteName(s.Suite))
}

// permitted is what config permits in TLS 1.2. By default crypto/tls has all that CipherSuites lists, but for those
// without forward secrecy.
func permitted(config *tls.Config) (ids []uint16) {
	if config.CipherSuites != nil {
		return config.CipherSuites
	}
	for _, s := range tls.CipherSuites() {
		ids = append(ids, s.ID)
	}
	return ids
}

// noExport has an ExportKeyingMaterial that returns an error. Without one it would panic, and there is no other way to
// have one.
var noExport = tls.Client(nil, &tls.Config{Renegotiation: tls.RenegotiateOnceAsClient}).ConnectionState()

// ConnectionState is what crypto/tls had said, without LocalCertificate, which Go has from 1.27 on. Its
// ExportKeyingMaterial returns an error.
func (s *State) ConnectionState() tls.ConnectionState {
	cs := noExport
	cs.Version, cs.CipherSuite, cs.CurveID = s.Version, s.Suite, tls.CurveID(s.Curve)
	cs.HandshakeComplete, cs.DidResume, cs.ECHAccepted = true, s.Resumed, s.ECH
	cs.ServerName, cs.NegotiatedProtocol = s.ServerName, s.ALPN
	cs.TLSUnique = nil
	if len(s.Unique) > 0 {
		cs.TLSUnique = append([]byte(nil), s.Unique...)
	}
	if retried, ok := retriedOf(&cs); ok {
		retried.SetBool(s.Retried)
	}
	return cs
}

// describe fills in what handlers may ask for.
func (s *State) describe(cs tls.ConnectionState) error {
	s.Version, s.Suite, s.Curve = cs.Version, cs.CipherSuite, uint16(cs.CurveID)
	s.Resumed, s.ECH = cs.DidResume, cs.ECHAccepted
	s.ServerName, s.ALPN, s.Unique = cs.ServerName, cs.NegotiatedProtocol, cs.TLSUnique
	if retried, ok := retriedOf(&cs); ok {
		s.Retried = retried.Bool()
	}
	if len(cs.PeerCertificates) > 0 || len(s.ServerName) > maxName || len(s.ALPN) > maxName || len(s.Unique) > maxName {
		return errForeign
	}
	return nil
}

// retriedOf is the field HelloRetryRequest, which Go 1.25 does not have.
func retriedOf(cs *tls.ConnectionState) (reflect.Value, bool) {
	f := reflect.ValueOf(cs).Elem().FieldByName("HelloRetryRequest")
	return f, f.IsValid() && f.Kind() == reflect.Bool
}
