package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	retryAfter = 250 * time.Millisecond
	leaveTime  = 5 * time.Second // a stop waits for it
)

// entry is this node of the service in Consul's catalog, by way of the agent of
// its machine. The four requests that it takes are made by hand: Consul's own
// client, github.com/hashicorp/consul/api, would add sixteen modules.
type entry struct {
	agent string // its URL
	token string
	id    string
	body  []byte // of the registration
}

// newEntry goes by CONSUL_HTTP_ADDR and CONSUL_HTTP_TOKEN, as Consul's own
// tools do. The id is the same for all generations, and after a crash.
func newEntry(name, addr string, interval, expire time.Duration) (*entry, error) {
	host, portText, err := net.SplitHostPort(addr)
	port, portErr := strconv.Atoi(portText)
	if ip := net.ParseIP(host); err != nil || portErr != nil || port < 1 || host == "" ||
		ip != nil && ip.IsUnspecified() {
		return nil, fmt.Errorf("-addr %s: want the host and the port at which others reach this node, "+
			"as in 10.0.0.7:8080", addr)
	}
	if interval <= 0 || expire < time.Minute {
		return nil, errors.New("want -check-interval more than 0, and -deregister-after a minute or more")
	}
	agent := cmp.Or(os.Getenv("CONSUL_HTTP_ADDR"), "http://127.0.0.1:8500")
	if !strings.Contains(agent, "://") {
		agent = "http://" + agent
	}
	e := &entry{agent: agent, token: os.Getenv("CONSUL_HTTP_TOKEN"), id: fmt.Sprintf("%s-%s-%d", name, host, port)}
	e.body, err = json.Marshal(map[string]any{
		"ID": e.id, "Name": name, "Address": host, "Port": port,
		"Meta": map[string]string{"version": version},
		"Check": map[string]any{
			"Name":                           "ping",
			"HTTP":                           "http://" + addr + "/ping",
			"Interval":                       interval.String(),
			"Timeout":                        interval.String(),
			"DeregisterCriticalServiceAfter": expire.String(),
		},
	})
	return e, err
}

// register is Config.Join. The entry begins as critical: nobody is sent here
// before Consul has had a good answer from /ping. It tries as long as it may.
func (e *entry) register(ctx context.Context) error {
	err := e.put(ctx, "/v1/agent/service/register?replace-existing-checks=true", e.body)
	if err == nil {
		// What a pull, or one of a process that was killed, has left.
		err = e.put(ctx, e.path("maintenance")+"?enable=false", nil)
	}
	if err == nil {
		slog.Info("registered with Consul", "id", e.id)
	}
	return err
}

// maintain is Config.Leave. Where Consul can't be reached /ping says the same.
func (e *entry) maintain(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, leaveTime)
	defer done()
	return known(e.put(ctx, e.path("maintenance")+"?enable=true&reason=pulled", nil))
}

// deregister is Config.Gone.
func (e *entry) deregister(ctx context.Context) error {
	return known(e.put(ctx, e.path("deregister"), nil))
}

func (e *entry) path(verb string) string {
	return "/v1/agent/service/" + verb + "/" + url.PathEscape(e.id)
}

// refusal is an answer of the agent's that asking again would not change.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d: %s", r.status, r.text) }

// known forgives that there is no such entry: that is what was wanted.
func known(err error) error {
	if r := (*refusal)(nil); errors.As(err, &r) && r.status == http.StatusNotFound {
		return nil
	}
	return err
}

// put asks until the agent is there, and well.
func (e *entry) put(ctx context.Context, path string, body []byte) error {
	for {
		err := e.try(ctx, path, body)
		if err == nil || errors.As(err, new(*refusal)) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryAfter):
		}
	}
}

func (e *entry) try(ctx context.Context, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, e.agent+path, bytes.NewReader(body))
	if err != nil {
		return &refusal{text: "CONSUL_HTTP_ADDR: " + err.Error()}
	}
	req.Header.Set("Content-Type", "application/json")
	if e.token != "" {
		req.Header.Set("X-Consul-Token", e.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
	answer := &refusal{res.StatusCode, strings.TrimSpace(string(text))}
	if res.StatusCode >= 500 {
		return errors.New(answer.Error())
	}
	return answer
}
