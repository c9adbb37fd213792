// Package forward has the next generation's process serve a request that the old generation has read and may not serve.
//
// All requests go over one connection of the two processes. A short one goes in one message, and so does a short
// answer: what net/http would keep in its buffer until the handler ends waits where the handler runs.
//
// The request's text is not written again, and its answer is not read. The handler runs in the new process. Each call
// of its ResponseWriter and of the request's body is sent to the old process. That makes the calls on net/http, one
// after the other, and sends each result, error or panic back. So framing, informational answers, trailers, deadlines,
// flow control, hijacking and what cuts a connection are what they are without forwarding, in each version of HTTP.
//
// What can't be kept: ConnectionState.ExportKeyingMaterial panics. Errors have their text, and are io.EOF,
// net.ErrClosed, a timeout and so on to errors.Is, but are no *net.OpError. The value of a call's panic is its text.
// A hijacked connection has CloseWrite, but is no *net.TCPConn or *tls.Conn, and has no descriptor. There is no
// http.Pusher. A MaxBytesReader gives its error, but lets the connection of a client live that has sent less than
// 256 KB too much. A header map that is kept from before WriteHeader changes nothing after it. A Write of more than
// 1 MB is several.
package forward

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// About is what the next generation has to know of a request's connection.
type About struct {
	Listener string // the new process finds the server by it
	Network  string
	Local    string
	Remote   string
	TLS      *TLS // nil: none
}

func (a *About) code(c *code) {
	for _, p := range []*string{&a.Listener, &a.Network, &a.Local, &a.Remote} {
		c.text(p)
	}
	optional(c, &a.TLS)
}

// TLS is a tls.ConnectionState.
type TLS struct {
	State  []byte // its exported fields, without the certificates, as JSON
	Peer   [][]byte
	Chains [][][]byte
}

func (t *TLS) code(c *code) {
	c.bytes(&t.State)
	list(c, &t.Peer, c.bytes)
	list(c, &t.Chains, func(chain *[][]byte) { list(c, chain, c.bytes) })
}

// request is the rest: what a server sets in an http.Request.
type request struct {
	Method, Target, Host, Proto string // Target is its RequestURI
	Major, Minor                int64
	Header, Trailer             http.Header // Trailer is what is announced
	ContentLength               int64
	TransferEncoding            []string
	Close, NoBody               bool
}

func (q *request) code(c *code) {
	for _, p := range []*string{&q.Method, &q.Target, &q.Host, &q.Proto} {
		c.text(p)
	}
	c.int(&q.Major)
	c.int(&q.Minor)
	c.header(&q.Header)
	c.header(&q.Trailer)
	c.int(&q.ContentLength)
	list(c, &q.TransferEncoding, c.text)
	c.flag(&q.Close)
	c.flag(&q.NoBody)
}

func requestOf(r *http.Request) *request {
	return &request{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Proto: r.Proto, Major: int64(r.ProtoMajor),
		Minor: int64(r.ProtoMinor), Header: r.Header, Trailer: r.Trailer, ContentLength: r.ContentLength,
		TransferEncoding: r.TransferEncoding, Close: r.Close, NoBody: r.Body == http.NoBody,
	}
}

func aboutOf(r *http.Request, listener string) *About {
	about := &About{Listener: listener, Remote: r.RemoteAddr}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		about.Network, about.Local = a.Network(), a.String()
	}
	if r.TLS == nil {
		return about
	}
	plain := *r.TLS
	plain.PeerCertificates, plain.VerifiedChains = nil, nil
	about.TLS = &TLS{Peer: raw(r.TLS.PeerCertificates)}
	about.TLS.State, _ = json.Marshal(plain) // of numbers, text and bytes
	for _, chain := range r.TLS.VerifiedChains {
		about.TLS.Chains = append(about.TLS.Chains, raw(chain))
	}
	return about
}

// build returns the request as the old process has it, without a body.
func (q *request) build(about *About) (*http.Request, error) {
	target := q.Target
	authority := q.Method == http.MethodConnect && !strings.HasPrefix(target, "/")
	if authority {
		target = "http://" + target // as net/http does
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, err
	}
	if authority {
		u.Scheme = ""
	}
	r := &http.Request{
		Method: q.Method, URL: u, RequestURI: q.Target, Host: q.Host,
		Proto: q.Proto, ProtoMajor: int(q.Major), ProtoMinor: int(q.Minor),
		Header: q.Header, Trailer: q.Trailer, ContentLength: q.ContentLength,
		TransferEncoding: q.TransferEncoding, Close: q.Close, RemoteAddr: about.Remote, Body: http.NoBody,
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if about.TLS == nil {
		return r, nil
	}
	r.TLS = new(tls.ConnectionState)
	if err := json.Unmarshal(about.TLS.State, r.TLS); err != nil {
		return nil, err
	}
	if r.TLS.PeerCertificates, err = parsed(about.TLS.Peer); err != nil {
		return nil, err // a handler must not take another certificate for the client's
	}
	for _, chain := range about.TLS.Chains {
		certs, err := parsed(chain)
		if err != nil {
			return nil, err
		}
		r.TLS.VerifiedChains = append(r.TLS.VerifiedChains, certs)
	}
	return r, nil
}

func raw(certs []*x509.Certificate) (der [][]byte) {
	for _, c := range certs {
		der = append(der, c.Raw)
	}
	return der
}

func parsed(der [][]byte) (certs []*x509.Certificate, err error) {
	for _, b := range der {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// address returns text as an address of the network: of net's own type where it can be.
func address(network, text string) net.Addr {
	if a, err := netip.ParseAddrPort(text); err == nil {
		return net.TCPAddrFromAddrPort(a)
	}
	return &net.UnixAddr{Net: network, Name: text}
}
