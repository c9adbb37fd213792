//go:build unix

package drain_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// everyCommand is what a Client can be asked.
func everyCommand(ctx context.Context, c drain.Client) map[string]error {
	_, err := c.Status(ctx)
	return map[string]error{
		"Swap": c.Swap(ctx), "Pull": c.Pull(ctx), "Restore": c.Restore(ctx), "Stop": c.Stop(ctx), "Status": err,
	}
}

func TestClient(t *testing.T) {
	s := start(t, plan{}, withControl)
	ctx, done := context.WithTimeout(context.Background(), hung)
	defer done()
	c := drain.Client{Socket: s.plan.Control}
	want := func(what string, err error, phase drain.Phase, generation int) {
		t.Helper()
		st, err2 := c.Status(ctx)
		if err != nil || err2 != nil || st.Phase != phase || st.Generation != generation {
			t.Fatalf("%s: %v; %+v, %v; want %s, %d", what, err, st, err2, phase, generation)
		}
	}
	want("ready", nil, drain.Ready, 1)
	want("Pull", c.Pull(ctx), drain.Pulled, 1)
	want("Restore", c.Restore(ctx), drain.Ready, 1)
	want("Swap", c.Swap(ctx), drain.Ready, 2)
	s.replace(write("no program", 0o755))
	if err := c.Swap(ctx); !errors.Is(err, drain.ErrSwapFailed) || errors.As(err, new(*drain.RefusedError)) {
		t.Errorf("Swap to no program: %v", err)
	}
	want("a failed swap", nil, drain.Ready, 2)
	ended, end := context.WithCancel(ctx)
	end()
	for what, err := range everyCommand(ended, c) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a ctx that has ended: %v", what, err)
		}
	}
	want("nothing was asked", nil, drain.Ready, 2)
	if err := c.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
	s.wantNoControl()
}

// TestStopFromOutsideAContainer: the pid in the answer is another process's there, one that lives on.
func TestStopFromOutsideAContainer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(have(os.MkdirTemp("", "baton"))(t), "s")
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(path)) })
	ln := have(net.Listen("unix", path))(t)
	defer ln.Close()
	var asked atomic.Int32
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Baton-Pid", strconv.Itoa(os.Getppid()))
			w.Header().Set("Baton-Pid-Namespace", "pid:[0]")
			_, _ = w.Write([]byte("{}"))
		}),
		ConnState: func(_ net.Conn, st http.ConnState) {
			if st == http.StateNew && asked.Add(1) == 5 {
				_ = ln.Close()
			}
		},
	}
	go func() { _ = srv.Serve(ln) }()
	ctx, done := context.WithTimeout(t.Context(), hung)
	defer done()
	if err := (drain.Client{Socket: path}).Stop(ctx); err != nil || asked.Load() < 5 {
		t.Errorf("%v after %d connections; want nil when the socket is gone", err, asked.Load())
	}
}

// TestClientWithoutAService: what is wrong with the socket.
func TestClientWithoutAService(t *testing.T) {
	t.Parallel()
	ctx, done := context.WithTimeout(context.Background(), hung)
	defer done()
	dir := have(os.MkdirTemp("", "baton"))(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := func(name string, serve func(net.Listener)) string {
		path := filepath.Join(dir, name)
		ln := have(net.Listen("unix", path))(t)
		t.Cleanup(func() { _ = ln.Close() })
		go serve(ln)
		return path
	}
	dead := filepath.Join(dir, "dead") // never listened on: another test that forks could hold a listener
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: dead})
	}
	must(t, err)
	_ = syscall.Close(fd)
	for _, c := range []struct {
		socket, words string
		over          bool
	}{
		{"", "no socket: name the one of Config.ControlSocket", false},
		{filepath.Join(dir, "none"), "does the service run", true},
		{dead, "does the service run", true},
		{socket("mute", func(ln net.Listener) {
			for nc, err := ln.Accept(); err == nil; nc, err = ln.Accept() {
				_ = nc.Close()
			}
		}), "", false},
		{socket("other", func(ln net.Listener) {
			_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte("hi"))
			}))
		}), "", false},
	} {
		for what, err := range everyCommand(ctx, drain.Client{Socket: c.socket}) {
			if what != "Status" && filepath.Base(c.socket) == "other" && what != "Stop" {
				continue // nothing is wrong with the answer
			}
			if err == nil || !strings.Contains(err.Error(), c.words) || errors.Is(err, drain.ErrStopped) != c.over {
				t.Errorf("%s at %q: %v; want %q, ErrStopped %v", what, c.socket, err, c.words, c.over)
			}
		}
	}
}

// TestStatusCrossesTheSocket: each field of a Status is there again behind a Client.
func TestStatusCrossesTheSocket(t *testing.T) {
	t.Parallel()
	var st, got drain.Status
	populate(reflect.ValueOf(&st).Elem(), 1)
	text, err := json.Marshal(st)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil || !reflect.DeepEqual(st, got) {
		t.Errorf("%v\n%+v\n%+v", err, st, got)
	}
}

// populate gives each field a value of its own.
func populate(v reflect.Value, n int) int {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 1, n, 1, 2, 3, 0, time.UTC)))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				n = populate(v.Field(i), n)
			}
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		n = populate(v.Elem(), n)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		n = populate(v.Index(1), populate(v.Index(0), n))
	case v.Kind() == reflect.String:
		v.SetString(string(rune('a' + n%26)))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(int64(n))
	default:
		panic(v.Type())
	}
	return n + 1
}
