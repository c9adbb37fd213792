//go:build unix

package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/gin-gonic/gin"
)

func TestMain(m *testing.M) {
	if os.Getenv("SERVE") == "" {
		os.Exit(m.Run())
	}
	main()
}

// TestBalancersOnHealthz: a pull is noticed when two balancers on /healthz have had their failing answers, and the
// program's own check fails there, too.
func TestBalancersOnHealthz(t *testing.T) {
	for _, way := range []string{"path", "mounted"} {
		t.Run(way, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			dir := t.TempDir()
			address, service := freePort(t), drain.Client{Socket: filepath.Join(dir, "control")}
			cmd := exec.CommandContext(ctx, os.Args[0], "-addr", address, "-way", way, "-pull-max", "1h",
				"-maintenance", filepath.Join(dir, "maintenance"), "-control", service.Socket)
			cmd.Env = append(os.Environ(), "SERVE=1")
			cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for _, err := service.Status(ctx); err != nil; _, err = service.Status(ctx) {
				if ctx.Err() != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			quit := make(chan struct{})
			var balancers sync.WaitGroup
			for _, agent := range []string{"one", "two"} {
				balancers.Go(func() {
					for tick := time.Tick(200 * time.Millisecond); ; <-tick {
						ask(ctx, address, agent)
						select {
						case <-quit:
							return
						default:
						}
					}
				})
				time.Sleep(100 * time.Millisecond) // the one asks between two probes of the other
			}
			until(t, ctx, func() bool {
				st, err := service.Status(ctx)
				return err == nil && len(st.Probers) == 2 && st.Probers[0].Interval > 0 && st.Probers[1].Interval > 0
			})
			if err := service.Pull(ctx); err != nil {
				t.Error(err)
			}
			if st, err := service.Status(ctx); err != nil || !st.Probers[0].Noticed || !st.Probers[1].Noticed {
				t.Errorf("%+v, %v", st.Probers, err)
			}
			if err := service.Restore(ctx); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "maintenance"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			until(t, ctx, func() bool {
				status, body := ask(ctx, address, "person")
				return status == http.StatusServiceUnavailable && strings.Contains(body, "maintenance is there")
			})
			close(quit)
			balancers.Wait()
			if err := service.Stop(ctx); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGinSaysItsRoutes holds what the library's warning of a shadowed route relies on.
func TestGinSaysItsRoutes(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/healthz", func(*gin.Context) {})
	h, ok := r.Handler().(interface{ Routes() gin.RoutesInfo })
	if !ok || len(h.Routes()) != 1 || h.Routes()[0].Path != "/healthz" || h.Routes()[0].Method != http.MethodGet {
		t.Errorf("%T has no route /healthz", r.Handler())
	}
}

// ask is a probe, on a connection of its own.
func ask(ctx context.Context, address, agent string) (status int, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("User-Agent", agent)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func until(t *testing.T, ctx context.Context, fact func() bool) {
	t.Helper()
	for !fact() {
		if ctx.Err() != nil {
			t.Fatal("hangs")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
