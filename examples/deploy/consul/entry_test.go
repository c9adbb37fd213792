package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// agentOf answers each request with the next of the codes, and keeps what it was asked.
func agentOf(t *testing.T, codes ...int) (e *entry, asked *[]string, body *map[string]any) {
	t.Helper()
	asked, body = new([]string), new(map[string]any)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.RequestURI+" "+r.Header.Get("X-Consul-Token"))
		if r.ContentLength > 0 {
			_ = json.NewDecoder(r.Body).Decode(body)
		}
		w.WriteHeader(codes[0])
		codes = codes[1:]
		_, _ = w.Write([]byte("so it is"))
	}))
	t.Cleanup(agent.Close)
	t.Setenv("CONSUL_HTTP_ADDR", strings.TrimPrefix(agent.URL, "http://"))
	t.Setenv("CONSUL_HTTP_TOKEN", "secret")
	e, err := newEntry("web", "10.0.0.7:8080", 2*time.Second, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return e, asked, body
}

const id = "web-10.0.0.7-8080"

func TestRegister(t *testing.T) {
	e, asked, body := agentOf(t, 500, 200, 200) // an agent without a leader answers 500
	if err := e.register(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"PUT /v1/agent/service/register?replace-existing-checks=true secret",
		"PUT /v1/agent/service/register?replace-existing-checks=true secret",
		"PUT /v1/agent/service/maintenance/" + id + "?enable=false secret",
	}
	if got := strings.Join(*asked, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("asked\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	b := *body
	check, _ := b["Check"].(map[string]any)
	if b["ID"] != id || b["Name"] != "web" || b["Address"] != "10.0.0.7" || b["Port"] != 8080.0 ||
		check["HTTP"] != "http://10.0.0.7:8080/ping" || check["Interval"] != "2s" ||
		check["DeregisterCriticalServiceAfter"] != "1h0m0s" {
		t.Errorf("registered %v", b)
	}
}

func TestRefusalsAreNotRepeated(t *testing.T) {
	e, asked, _ := agentOf(t, 403)
	if err := e.register(context.Background()); err == nil || err.Error() != "403: so it is" {
		t.Errorf("register: %v", err)
	}
	if len(*asked) != 1 {
		t.Errorf("asked %q, want it once", *asked)
	}
}

func TestNoSuchEntryIsWhatWasWanted(t *testing.T) {
	e, _, _ := agentOf(t, 404, 404)
	if err := e.maintain(context.Background()); err != nil {
		t.Errorf("maintain: %v", err)
	}
	if err := e.deregister(context.Background()); err != nil {
		t.Errorf("deregister: %v", err)
	}
}

func TestWrongSettings(t *testing.T) {
	for _, addr := range []string{":8080", "0.0.0.0:8080", "[::]:8080", "10.0.0.7", "10.0.0.7:http", "10.0.0.7:0"} {
		if _, err := newEntry("web", addr, time.Second, time.Hour); err == nil ||
			!strings.Contains(err.Error(), "-addr "+addr) {
			t.Errorf("-addr %s: %v, want an error that says so", addr, err)
		}
	}
	if _, err := newEntry("web", "10.0.0.7:8080", time.Second, time.Second); err == nil ||
		!strings.Contains(err.Error(), "-deregister-after") {
		t.Errorf("-deregister-after 1s: %v, want an error that says so", err)
	}
	t.Setenv("CONSUL_HTTP_ADDR", "http://a b")
	e, err := newEntry("web", "10.0.0.7:8080", time.Second, time.Hour)
	if err == nil {
		err = e.deregister(context.Background())
	}
	if err == nil || !strings.Contains(err.Error(), "CONSUL_HTTP_ADDR") {
		t.Errorf("CONSUL_HTTP_ADDR=http://a b: %v, want an error that says so", err)
	}
}
