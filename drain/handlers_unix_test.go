//go:build unix

package drain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/internal/process"
	"github.com/baton-go/baton/listener"
)

func (g *gen) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.Handle("/metrics", g.svc.MetricsHandler())
	mux.HandleFunc("/whoami", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		g.note("slow begun")
		waitGate(r.FormValue("gate"))
		_, _ = io.WriteString(w, "slow but done")
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nX-Pid: %d\r\nContent-Length: 2\r\n\r\nok", os.Getpid())
		for { // lines from now on
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			if line == "goroutines\n" {
				line = fmt.Sprintln(runtime.NumGoroutine())
			}
			_, _ = io.WriteString(nc, line)
		}
	})
	mux.HandleFunc("/lines", func(w http.ResponseWriter, r *http.Request) {
		if nc, brw, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			early, _ := brw.Reader.Peek(brw.Reader.Buffered())
			g.line.begin(nc, lineState{Half: string(early)})
		}
	})
	mux.HandleFunc("/endless", g.endless)
	mux.HandleFunc("POST /own/{name}", func(w http.ResponseWriter, r *http.Request) {
		g.owns[r.PathValue("name")].ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /job", g.job)
	mux.HandleFunc("/subprocess", func(w http.ResponseWriter, r *http.Request) {
		out, err := exec.CommandContext(r.Context(), "/bin/sh", "-c", "ls -l /proc/self/fd; env").CombinedOutput()
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write(out)
	})
	mux.HandleFunc("/sh", func(_ http.ResponseWriter, r *http.Request) {
		// It has /dev/null, so that nothing waits for what it leaves.
		_ = exec.Command("/bin/sh", "-c", r.FormValue("do")).Run()
	})
	mux.HandleFunc("/notify", func(w http.ResponseWriter, r *http.Request) {
		files, _ := strconv.Atoi(r.FormValue("files"))
		if err := notify(r.FormValue("text"), files); err != nil {
			w.WriteHeader(http.StatusConflict)
		}
	})
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(code)
	})
	mux.HandleFunc("/do", g.do)
	mux.HandleFunc("/options", g.options)
	mux.HandleFunc("/events", g.events)
	mux.Handle("/aside", g.svc.Aside(g.svc.Aside(http.NotFoundHandler()))) // counted once
	mux.HandleFunc("/number", func(w http.ResponseWriter, r *http.Request) {
		_,
			_ = fmt.Fprint(w, listener.Requests(r.Context()))
	})
	if g.Mount != "" {
		mux.Handle(g.Mount, http.StripPrefix("/api", g.svc.Health()))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pid", fmt.Sprint(os.Getpid()))
		w.Header().Set("X-Generation", fmt.Sprint(g.n.Load()))
		mux.ServeHTTP(w, r)
	})
}

// do lets a client call the methods of Service.
func (g *gen) do(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.FormValue("it") {
	case "swap":
		err = g.svc.Swap(r.Context())
	case "close":
		err = g.closeAlso()
	case "reopen":
		err = errors.Join(g.serveAlso(), g.answerDatagrams())
	case "pull":
		err = g.svc.Pull(r.Context())
	case "restore":
		err = g.svc.Restore(r.Context())
	case "stop":
		go func() { _ = g.svc.Stop(context.Background()) }()
	case "new":
		_, err = drain.New(drain.Config{})
	case "listen":
		network, address := r.FormValue("network"), r.FormValue("address")
		if strings.HasPrefix(network, "udp") || network == "unixgram" {
			_, err = g.svc.ListenPacket(network, address)
		} else {
			_, err = g.svc.Listen(network, address)
		}
	case "close listener":
		err = g.ln.Close()
	case "collect":
		runtime.GC()
	case "goroutines":
		_ = pprof.Lookup("goroutine").WriteTo(w, 1)
		return
	case "starve":
		err = g.starve(r.FormValue("spare"))
	case "status":
		_ = json.NewEncoder(w).Encode(g.svc.Status())
		return
	}
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, err.Error())
	}
}

// datagrams says of each datagram which generation has read it, until the socket is closed.
func (g *gen) datagrams(pc net.PacketConn) {
	buf := make([]byte, 512)
	if g.Fault == "holds a read" {
		if rc, err := pc.(syscall.Conn).SyscallConn(); err == nil {
			_ = rc.Read(func(uintptr) bool { g.fault(g.Fault); g.note("read over"); return true })
		}
	}
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		if g.Fault == "slow datagrams" {
			time.Sleep(5 * time.Millisecond)
		}
		_, _ = pc.WriteTo(fmt.Appendf(nil, "%d %s", g.n.Load(), buf[:n]), from)
	}
}

// notify sends a datagram, with some descriptors, where NOTIFY_SOCKET said when the process was started: a
// keeper's is taken out of the environment.
func notify(text string, files int) error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	var oob []byte
	if files > 0 {
		oob = syscall.UnixRights(slices.Repeat([]int{0}, files)...)
	}
	var socket string
	for _, v := range process.Self.Env {
		if value, ok := strings.CutPrefix(v, "NOTIFY_SOCKET="); ok {
			socket = value
		}
	}
	_, _, err = conn.WriteMsgUnix([]byte(text), oob, &net.UnixAddr{Net: "unixgram", Name: socket})
	return err
}

// callback is what plan.Callback says: what OnEvent or the logger's handler does besides, when it is told message.
func (g *gen) callback(from, message string) {
	does, ok := strings.CutPrefix(g.Callback, from+" ")
	svc := g.known.Load()
	if !ok || svc == nil {
		return
	}
	first := svc.Status().Generation == 1
	switch {
	case does == "calls":
		g.callEverything(svc)
		g.note("called at %s", message)
	case message != "ready" && message != "promoted":
	case does == "blocks":
		g.note("blocks")
		select {}
	case does == "stops":
		g.note("stop returned: %v", svc.Stop(context.Background()))
	case does == "swaps" && first:
		g.note("swap returned: %v", svc.Swap(context.Background()))
	case does == "panics":
		panic("a bug in a callback")
	}
}

// callEverything calls the methods that change nothing, or nothing for long.
func (g *gen) callEverything(svc *drain.Service) {
	over, end := context.WithCancel(context.Background())
	end()
	st := svc.Status()
	svc.Health().Pulled()
	svc.Go("callback", func(context.Context) {})
	<-svc.Draining(over).Done()
	if ln, err := svc.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = ln.Close()
	}
	if pc, err := svc.ListenPacket("udp", "127.0.0.1:0"); err == nil {
		_ = pc.Close()
	}
	if st.Phase == drain.Starting || st.Phase == drain.Probation {
		return // g.ln may not be known yet
	}
	if nc, err := svc.Dial(g.ln); err == nil {
		_ = svc.HandOver(nc, nil)
		_ = nc.Close()
	}
	if st.Phase == drain.Draining || st.Phase == drain.Stopped {
		_, _, _ = svc.Pull(over), svc.Restore(over), svc.Swap(over)
		_, _ = svc.Stop(over), svc.Run(over)
		if ln, err := svc.Listen("tcp", "127.0.0.1:0"); err == nil {
			svc.Serve(ln, &http.Server{Handler: http.NotFoundHandler()})
		}
	}
}

func (l logger) callback(r slog.Record) { l.gen.callback("logger", r.Message) }

// spoilEnvironment is what programs do to theirs before they call New.
func (g *gen) spoilEnvironment() {
	names := []string{"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"}
	switch g.Fault {
	case "clears its environment":
		os.Clearenv()
	case "unsets what systemd said":
		for _, name := range names {
			_ = os.Unsetenv(name)
		}
	case "invents what systemd said":
		for _, name := range names {
			_ = os.Setenv(name, fmt.Sprint(os.Getpid()))
		}
	}
}
