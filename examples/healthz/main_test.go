//go:build linux

package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/examples/internal/flow"
	"github.com/gin-gonic/gin"
)

func TestMain(m *testing.M) {
	flow.Race = true
	flow.Main(m)
}

// TestBalancersOnHealthz: a pull is noticed when two balancers on /healthz have had their failing answers, and the
// program's own check fails there, too.
func TestBalancersOnHealthz(t *testing.T) {
	for _, way := range []string{"path", "mounted"} {
		t.Run(way, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), flow.Patience)
			defer cancel()
			dir, address := flow.Dir(t), flow.Host()+":8080"
			service := drain.Client{Socket: filepath.Join(dir, "control")}
			p := flow.Start(t, exec.Command(flow.Build(t, "healthz", "v1", ""),
				"-addr", address, "-way", way, "-pull-max", "1h",
				"-maintenance", filepath.Join(dir, "maintenance"), "-control", service.Socket))
			p.Answers(t, address)
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
			flow.Eventually(t, "both are known", func() bool {
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
			flow.Eventually(t, "/healthz says that it is not healthy", func() bool {
				status, body := ask(ctx, address, "person")
				return status == http.StatusServiceUnavailable && strings.Contains(body, "maintenance is there")
			})
			close(quit)
			balancers.Wait()
			if err := service.Stop(ctx); err != nil {
				t.Error(err)
			}
			<-p.Ended()
			if code := p.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code %d; want 0", code)
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
