// Command tally is a service on HTTPS that writes down which requests it has executed. The test of clients that
// speak TLS compares this with what the clients were told.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
)

var (
	addr = flag.String("addr", "127.0.0.1:8443", "listen on this `host:port`")
	cert = flag.String("cert", "", "the certificate's `file`")
	key  = flag.String("key", "", "that of its private key")
	book = flag.String("book", "tally",
		"append a line to this `file` for each request; once FILE.closed is there, answer 410")
)

var wanted = bytes.Repeat([]byte("baton"), 200) // the body of each request

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	lines, err := os.OpenFile(*book, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer lines.Close()
	generation := svc.Status().Generation
	h := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, open := os.Stat(*book + ".closed")
		switch {
		case err != nil || !bytes.Equal(body, wanted) || r.TLS == nil:
			http.Error(w, fmt.Sprintf("TLS %v, %d bytes, %v", r.TLS != nil, len(body), err), http.StatusBadRequest)
		case open == nil:
			http.Error(w, "closed", http.StatusGone)
		default:
			version := strings.TrimPrefix(tls.VersionName(r.TLS.Version), "TLS ")
			// One write to the file is one line, whatever other generations write.
			if _, err := fmt.Fprintln(lines, r.URL.Path, r.RemoteAddr, generation, r.Proto, version); err != nil {
				panic(err)
			}
			fmt.Fprintln(w, "ok", r.URL.Path)
		}
	}
	if err := svc.ServeTLS(ln, &http.Server{Handler: http.HandlerFunc(h)}, *cert, *key); err != nil {
		return err
	}
	return svc.Run(context.Background())
}
