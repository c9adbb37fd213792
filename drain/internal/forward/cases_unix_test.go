//go:build unix

package forward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const get = "GET /a HTTP/1.1\nHost: HOST\n\n"

var big = strings.Repeat("0123456789abcdef", 40<<10) // more than net/http reads of a body that nobody wants

func post(length int) string {
	return fmt.Sprintf("POST /a HTTP/1.1\nHost: HOST\nContent-Length: %d\n\n", length)
}

// write answers with parts, flushed one by one.
func write(rw http.ResponseWriter, parts ...string) {
	for _, p := range parts {
		_, _ = io.WriteString(rw, p)
		_ = http.NewResponseController(rw).Flush()
	}
}

var cases = []testCase{
	{name: "target and headers",
		request: "GET /a%2fb/%C3%A9/%ff;x//?q=1;2&z=%zz&plus=a+b HTTP/1.1\nHost: HOST\nUser-Agent: x\n" +
			"X-Forwarded-For: 1.2.3.4\nForwarded: for=x\nTE: trailers\nKeep-Alive: 5\n" +
			"Proxy-Authorization: p\nX-Latin: \xe9\nX-Twice: a\nX-Twice: b\nCookie: a=b\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Keep-Alive", "9")
			rw.Header().Set("Proxy-Authenticate", "x")
			rw.Header()["X-Latin"] = []string{"\xe9", "b"}
			rw.Header().Set("Server", "s")
			rw.WriteHeader(http.StatusUpgradeRequired)
		}},
	{name: "hop-by-hop", kinds: "http tls",
		request: "GET http://u:p@HOST/a HTTP/1.1\nHost: other\nConnection: close, X-Hop\nX-Hop: 1\n" +
			"Trailer: X\nUpgrade: foo\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Connection", "X-Mine")
			rw.Header().Set("X-Mine", "1")
			rw.Header().Set("Upgrade", "h2c")
			_, _ = io.WriteString(rw, "<html>")
		}},
	{name: "answer closes", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Connection", "close")
		rw.Header()["Date"] = nil
		rw.Header()["Content-Type"] = nil
	}},
	{name: "HTTP/1.0", kinds: "http tls", request: "GET /a HTTP/1.0\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) { write(rw, "a", "b") }},
	{name: "asterisk and CONNECT", kinds: "http tls", request: "CONNECT HOST HTTP/1.1\nHost: HOST\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusNotFound) }},
	{name: "HEAD", request: "HEAD /a HTTP/1.1\nHost: HOST\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			n, err := io.WriteString(rw, "abc")
			w.note("%d %v", n, err)
		}},
	{name: "204", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusNoContent)
		n, err := io.WriteString(rw, "abc")
		w.note("%d %v %v", n, err, err == http.ErrBodyNotAllowed)
	}},
	{name: "304", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", `"x"`)
		rw.Header().Set("Content-Length", "77")
		rw.WriteHeader(http.StatusNotModified)
	}},
	{name: "too long an answer", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "3")
		_, err := io.WriteString(rw, "abcd")
		w.note("%v", errors.Is(err, http.ErrContentLength))
		_, _ = io.WriteString(rw, "abc")
	}},
	{name: "too short an answer", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "30")
		write(rw, "abc")
	}},
	{name: "small, then copied", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "abc")
		n, err := io.Copy(rw, io.LimitReader(strings.NewReader(big), 700))
		w.note("%d %v", n, err)
	}},
	{name: "nothing copied, then a status", request: get,
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(rw, struct{ io.Reader }{strings.NewReader("")})
			rw.Header().Set("X-A", "1")
			rw.WriteHeader(http.StatusNotFound)
		}},
	{name: "copied, source fails", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		broken := errors.New("broken")
		pr, pw := io.Pipe()
		go func() {
			_, _ = io.WriteString(pw, big[:50_000])
			pw.CloseWithError(broken)
		}()
		n, err := io.Copy(rw, pr)
		w.note("%d %v", n, err == broken)
	}},
	{name: "a file", request: "GET /a HTTP/1.1\nHost: HOST\nRange: bytes=10-300000\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			http.ServeContent(rw, r, "a.txt", time.Unix(1e9, 0), strings.NewReader(big))
		}},
	{name: "headers change late, and bad statuses", request: get,
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			func() {
				defer func() { w.note("%v", recover()) }()
				rw.WriteHeader(99)
			}()
			rw.Header().Set("X-A", "1")
			rw.WriteHeader(http.StatusTeapot)
			rw.Header().Set("X-A", "2")
			rw.WriteHeader(http.StatusOK)
		}},
	{name: "informational", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Link", "</a>")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Set("Link", "</b>")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Del("Link")
		_, _ = io.WriteString(rw, "abc")
	}},
	{name: "sized body", request: post(len(big)), body: big,
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			_, _ = rw.Write(w.all(r))
			w.note("%v", r.Body.Close())
			_, err := r.Body.Read(make([]byte, 1))
			w.note("%v", err == nil)
		}},
	{name: "chunked body, trailers both ways",
		request: "POST /a HTTP/1.1\nHost: HOST\nTransfer-Encoding: chunked\n" +
			"Trailer: X-Sum\n\n3\nabc\n4\ndefg\n0\nX-Sum: 7\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Trailer", "X-Told")
			_, _ = rw.Write(w.all(r))
			rw.Header().Set("X-Told", "1")
			rw.Header().Set(http.TrailerPrefix+"X-Untold", "2")
		}},
	{name: "trailers without a body", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "Grpc-Status")
		rw.WriteHeader(http.StatusOK)
		rw.Header().Set("Grpc-Status", "0")
	}},
	{name: "broken chunks", kinds: "http tls",
		request: "POST /a HTTP/1.1\nHost: HOST\nTransfer-Encoding: chunked\n\n3\nabc\nzz\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) { w.all(r) }},
	{name: "answer before a small body is read", request: post(5), body: "abcde",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) { write(rw, "early"); w.all(r) }},
	{name: "answer, and a large body never read", request: post(len(big)), body: big,
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusForbidden) }},
	{name: "continue", kinds: "http tls",
		request: "POST /a HTTP/1.1\nHost: HOST\nExpect: 100-continue\nContent-Length: 3\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			w.note("%s", <-w.step)
			_, _ = rw.Write(w.all(r))
		},
		talk: func(w *world, nc net.Conn, br *bufio.Reader) {
			w.step <- "the handler goes first"
			line, _ := br.ReadString('\n')
			_, _ = io.WriteString(nc, "abc"+"GET /bye HTTP/1.0\r\n\r\n")
			w.t.Log(line)
		}},
	{name: "continue that is refused", kinds: "http tls",
		request: "POST /a HTTP/1.1\nHost: HOST\nExpect: 100-continue\nContent-Length: 3\n\n",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusExpectationFailed)
		}},
	{name: "events", request: get,
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			for range 3 {
				write(rw, "data: x\n\n")
				w.step <- "" // the client has it
			}
		},
		talk: func(w *world, nc net.Conn, br *bufio.Reader) {
			for range 3 {
				for line := ""; line != "data: x\n"; {
					var err error
					if line, err = br.ReadString('\n'); err != nil {
						w.t.Error(err)
						return
					}
				}
				await(w.t, w.step, "the next event")
			}
			_, _ = io.WriteString(nc, "GET /bye HTTP/1.0\r\n\r\n")
		},
		talk2: func(w *world, resp *http.Response, _ context.CancelFunc) {
			for range 3 {
				_, _ = io.ReadFull(resp.Body, make([]byte, 9))
				await(w.t, w.step, "the next event")
			}
		}},
	{name: "client leaves", request: get,
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			gone := rw.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // frameworks ask for it
			write(rw, "x")
			w.note("%v", await(w.t, gone, "the notice"))
			await(w.t, r.Context().Done(), "the context's end")
			w.note("%v", r.Context().Err())
		},
		talk: func(w *world, nc net.Conn, br *bufio.Reader) {
			_, _ = br.ReadString('x')
			nc.Close()
		},
		talk2: func(_ *world, _ *http.Response, cancel context.CancelFunc) { cancel() }},
	{name: "panic", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) { panic("no") }},
	{name: "abort in the middle", request: get, handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
		write(rw, "abc")
		_, _ = io.WriteString(rw, "def")
		panic(http.ErrAbortHandler)
	}},
	{name: "deadlines", request: post(9), body: "abc",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			_, err := io.ReadFull(r.Body, make([]byte, 3))
			w.note("%v %v", err, http.NewResponseController(rw).SetReadDeadline(time.Now()))
			_, err = r.Body.Read(make([]byte, 1))
			var timeout net.Error
			w.note("%v %v", errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout())
			w.note("%v", http.NewResponseController(rw).SetWriteDeadline(time.Time{}))
			write(rw, "late")
		},
		stream: func(w *world) io.ReadCloser {
			pr, pw := io.Pipe()
			go func() { _, _ = io.WriteString(pw, "abc") }()
			return pr
		}},
	{name: "upgrade", kinds: "http tls",
		request: "GET /a HTTP/1.1\nHost: HOST\nConnection: Upgrade\nUpgrade: websocket\n\n", body: "early",
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			nc, brw, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				w.note("%v", err)
				return
			}
			defer nc.Close()
			early, _ := io.ReadAll(io.LimitReader(brw, 5))
			w.note("%s %v %v", early, nc.RemoteAddr().String() == r.RemoteAddr, nc.LocalAddr())
			w.notes.Reset() // the ports are not the same
			_, err = rw.Write([]byte("x"))
			w.note("%v", err == http.ErrHijacked)
			_, _ = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			for range 3 {
				b := make([]byte, 4)
				n, err := io.ReadFull(brw, b)
				w.note("%s %v", b[:n], err)
				_, _ = nc.Write(b)
			}
			_ = nc.SetReadDeadline(time.Now())
			_, err = nc.Read(make([]byte, 1))
			ne, ok := err.(net.Error)
			w.note("%v", ok && ne.Timeout())
			_ = nc.SetReadDeadline(time.Time{})
			w.note("%v", nc.(interface{ CloseWrite() error }).CloseWrite())
			rest, err := io.ReadAll(nc)
			w.note("%s %v", rest, err)
		},
		talk: func(w *world, nc net.Conn, br *bufio.Reader) {
			_, _ = br.ReadString('\n')
			_, _ = br.ReadString('\n')
			for _, s := range []string{"ping", "pong", "pang"} {
				_, _ = io.WriteString(nc, s)
				_, _ = io.ReadFull(br, make([]byte, 4))
			}
			_, _ = io.Copy(io.Discard, br) // half closed
			_, _ = io.WriteString(nc, "rest")
			_ = nc.(interface{ CloseWrite() error }).CloseWrite()
		}},
	{name: "both ways at once", kinds: "h2",
		request: "POST /a HTTP/1.1\nHost: HOST\nTE: trailers\nContent-Type: application/grpc\n\n",
		stream: func(w *world) io.ReadCloser {
			pr, pw := io.Pipe()
			go func() {
				for i := range 50 {
					fmt.Fprintf(pw, "message %02d", i)
					await(w.t, w.step, "the echo")
				}
				pw.Close()
			}()
			return pr
		},
		handler: func(w *world, rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Trailer", "Grpc-Status")
			write(rw, "")
			for b := make([]byte, 10); ; {
				if _, err := io.ReadFull(r.Body, b); err != nil {
					w.note("%v", err)
					break
				}
				write(rw, string(b))
			}
			rw.Header().Set("Grpc-Status", "0")
		},
		talk2: func(w *world, resp *http.Response, _ context.CancelFunc) {
			for range 50 {
				_, _ = io.ReadFull(resp.Body, make([]byte, 10))
				w.step <- ""
			}
		}},
}
