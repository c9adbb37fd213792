//go:build unix

package drain_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// http2Client is a client of HTTP/2 alone. Net/http can't repeat its requests, whose bodies can't be read twice.
type http2Client struct {
	*http.Client
	dials atomic.Int32
	url   string
}

func newHTTP2Client(t testing.TB, address string, config *tls.Config) *http2Client {
	c := &http2Client{url: "https://" + address}
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: config,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c.dials.Add(1)
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
	t.Cleanup(tr.CloseIdleConnections)
	c.Client = &http.Client{Transport: tr, Timeout: 2 * hung}
	return c
}

// unchecked takes any certificate.
func unchecked() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// ask wants an answer over HTTP/2 that has the body.
func (c *http2Client) ask(body string) error { return c.post("/echo", body) }

// post is ask of another handler.
func (c *http2Client) post(path, body string) error {
	return c.postBy(context.Background(), path, body)
}

func (c *http2Client) postBy(ctx context.Context, path, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, io.MultiReader(strings.NewReader(body)))
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.ProtoMajor != 2 || string(got) != body) {
		err = fmt.Errorf("%s %d, %d bytes, want %d", resp.Proto, resp.StatusCode, len(got), len(body))
	}
	return err
}
