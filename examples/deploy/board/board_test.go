//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/examples/internal/browser"
	"github.com/baton-go/baton/examples/internal/flow"
)

func TestMain(m *testing.M) { flow.Main(m) }

// TestBoard looks at nodes of a list, and of Consul's catalog, with a real browser, while an operator works on them.
func TestBoard(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]browser.View{
		"list":   {Width: 1100, Height: 500},
		"consul": {Width: 375, Height: 740, Dark: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := flow.Host()
			var nodes []*flow.Node
			pages := []string{host + ":18080"} // and one where nobody is
			for i := range 3 {
				page := fmt.Sprintf("%s:%d", host, 8081+i)
				n := flow.NewNode(t, fmt.Sprintf("%s:%d", host, 9081+i), flow.Build(t, "gin", "v1", ""),
					"-page", page, "-probation", "100ms", "-pull-max", "1s")
				n.Control("start")
				nodes, pages = append(nodes, n), append(pages, page)
			}
			args := []string{"-nodes", strings.Join(pages, ",")}
			dir := flow.Dir(t)
			agent := "http://" + host + ":8500"
			if name == "consul" {
				program := flow.Tool(t, "consul", "run .ci/get-consul DIR and put DIR on the PATH")
				cmd := exec.Command(program, "agent", "-server", "-bootstrap-expect=1",
					"-data-dir", filepath.Join(dir, "data"), "-bind", host, "-client", host, "-node", "test",
					"-log-level", "warn",
					"-hcl", `performance { raft_multiplier = 1 } disable_update_check = true`)
				flow.Start(t, cmd).Answers(t, host+":8500")
				for i, page := range pages {
					_, port, _ := net.SplitHostPort(page)
					flow.Eventually(t, "Consul takes the node", func() bool {
						entry := fmt.Sprintf(`{"ID": "web-%d", "Name": "web", "Address": %q, "Port": %s}`,
							i, host, port)
						return put(agent+"/v1/agent/service/register", entry)
					})
				}
				args = []string{"-consul", agent}
			}
			bin := filepath.Join(dir, "board")
			flow.Deploy(t, flow.Build(t, "deploy/board", "v1", ""), bin)
			addr := host + ":8088"
			board := flow.Start(t, exec.Command(bin, append(args, "-addr", addr, "-every", "200ms")...))
			board.Answers(t, addr)
			t.Cleanup(func() { _ = board.Process.Signal(syscall.SIGTERM) })
			p := browser.Open(t, "http://"+addr, v)
			p.Shows("#in", "3 of 4 in")
			p.Shows("#versions", "3 × v1")
			p.Shows("tr.dead", "no answer: connect")

			row := func(i int) string { return fmt.Sprintf("#nodes tr:has(a[href$=':%d/'])", 8081+i) }
			nodes[0].Deploy(flow.Build(t, "gin", "v2", ""))
			nodes[0].Control("reload")
			p.Shows(row(0)+" td[data-is=generation]", "2")
			p.Shows("#versions", "2 × v1, 1 × v2")
			nodes[1].Control("pull")
			p.Shows(row(1)+" td[data-is=why]", "pulled: 0 of 0 probers noticed")
			p.Shows("#in", "2 of 4 in")
			nodes[2].Deploy(flow.Build(t, "gin", "v3", "crash"))
			if err := (drain.Client{Socket: nodes[2].Path("control")}).Swap(context.Background()); err == nil {
				t.Fatal("a swap to a broken build succeeds")
			}
			p.Shows(row(2)+" td[data-is=why]", "last swap failed: ")
			p.Shot("board-" + name)
			if browser.Eval[bool](p, "document.documentElement.scrollWidth > innerWidth") {
				t.Error("the board is wider than the screen")
			}
			nodes[1].Control("restore")
			p.Shows("#in", "3 of 4 in")
			if name == "consul" {
				put(agent+"/v1/agent/service/maintenance/web-1?enable=true&reason=disk", "")
				p.Shows(row(0)+" td[data-is=why]", "maintenance in Consul: disk")
				put(agent+"/v1/agent/service/deregister/web-2", "")
				p.Shows(row(1)+" td[data-is=why]", "not in the list")
			}
			nodes[0].Control("stop")
			p.Shows(row(0)+" td[data-is=why]", "no answer: ")
			p.Shows(row(0)+" td[data-is=version]", "v2") // as it last said
			if errs := p.Errors(); len(errs) > 0 {
				t.Errorf("the browser complains: %q", errs)
			}
		})
	}
}

// put tells Consul something, and whether it took it.
func put(url, body string) bool {
	req, _ := http.NewRequest(http.MethodPut, url, strings.NewReader(body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// TestEndpointSlices reads what an API server answers, as it stands in the reference of discovery.k8s.io/v1.
func TestEndpointSlices(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices" ||
			r.FormValue("labelSelector") != "kubernetes.io/service-name=app" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"kind": "EndpointSliceList", "items": [
			{"endpoints": [
				{"addresses": ["10.1.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
				 "targetRef": {"kind": "Pod", "name": "app-a"}},
				{"addresses": ["10.1.0.2"], "conditions": {"ready": false},
				 "targetRef": {"kind": "Pod", "name": "app-b"}},
				{"addresses": ["10.1.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true},
				 "targetRef": {"kind": "Pod", "name": "app-c"}},
				{"addresses": ["10.1.0.4"], "conditions": {}}],
			 "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]},
			{"endpoints": null, "ports": null}]}`)
	}))
	defer api.Close()
	e, err := newEndpoints(api.URL+"/", "shop", "app")
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.places(t.Context())
	want := []place{
		{"app-a", "http://10.1.0.1:8080/", ""},
		{"app-b", "http://10.1.0.2:8080/", "its endpoint is not ready"},
		{"app-c", "http://10.1.0.3:8080/", "its pod is being deleted"},
		{"10.1.0.4", "http://10.1.0.4:8080/", ""},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || err != nil {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err = (&endpoints{url: api.URL + "/other", client: http.DefaultClient}).places(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "answers 404") {
		t.Errorf("%v; want what the API answers", err)
	}
}

// TestTextOfNodesIsNoMarkup: what a node says, its name, version and errors, may be anything.
func TestTextOfNodesIsNoMarkup(t *testing.T) {
	t.Parallel()
	const evil = `<img src=x onerror=alert(1)>"`
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"name": %[1]q, "status": {"version": %[1]q, "phase": %[1]q, "unhealthy": %[1]q, `+
			`"generation": 1, "last_swap": {"error": %[1]q}}}`, evil)
	}))
	defer node.Close()
	b := newBoard(fixed{node.URL, "javascript://alert(1)", "127.0.0.1:1"})
	b.look(t.Context())
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	body, policy := w.Body.Bytes(), w.Header().Get("Content-Security-Policy")
	if bytes.Contains(body, []byte("<img")) || bytes.Contains(body, []byte(`href="javascript`)) ||
		bytes.Count(body, []byte("<tr class")) != 3 || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("%v\n%s", w.Header(), body)
	}
}
