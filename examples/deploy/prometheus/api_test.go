//go:build linux

package prometheus

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/baton-go/baton/examples/internal/flow"
)

// server is a real Prometheus.
type server struct {
	*flow.Process
	t    testing.TB
	addr string
}

// get asks its API, and reads the answer's data into result.
func (p *server) get(path string, args url.Values, result any) {
	p.t.Helper()
	client := http.Client{Timeout: flow.Patience}
	res, err := client.Get(fmt.Sprintf("http://%s/api/v1/%s?%s", p.addr, path, args.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	if answer.Status != "success" {
		p.t.Errorf("%s %v: %s", path, args, answer.Error)
	} else if err := json.Unmarshal(answer.Data, result); err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
}

// series are samples with their labels.
type series struct {
	Metric map[string]string
	Values [][2]any
}

func (s series) numbers() (all []float64) {
	for _, v := range s.Values {
		text, _ := v[1].(string)
		n, _ := strconv.ParseFloat(text, 64)
		all = append(all, n)
	}
	return all
}

// since returns all samples from the beginning on of what the selector names.
func (p *server) since(begun time.Time, selector string) []series {
	p.t.Helper()
	var data struct{ Result []series }
	query := fmt.Sprintf("%s[%dms]", selector, time.Since(begun).Milliseconds()+1000)
	p.get("query", url.Values{"query": {query}}, &data)
	return data.Result
}

// drawn returns what a panel shows of the time from begun until now.
func (p *server) drawn(begun time.Time, expr string) []series {
	p.t.Helper()
	var data struct{ Result []series }
	p.get("query_range", url.Values{"query": {expr}, "start": {begun.Format(time.RFC3339Nano)},
		"end": {time.Now().Format(time.RFC3339Nano)}, "step": {"0.5"}}, &data)
	return data.Result
}

// now returns the value of an expression that is one number; false: it has none.
func (p *server) now(expr string) (float64, bool) {
	p.t.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	p.get("query", url.Values{"query": {expr}}, &data)
	if len(data.Result) != 1 {
		return 0, false
	}
	text, _ := data.Result[0].Value[1].(string)
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

// fires waits until an alert does, for that node alone.
func (p *server) fires(alert, node string) {
	p.t.Helper()
	flow.Eventually(p.t, alert+" fires for "+node, func() bool {
		n, ok := p.now(fmt.Sprintf(`count(ALERTS{alertname=%q, alertstate="firing", instance=%q})`, alert, node))
		return ok && n > 0
	})
}

// scrapes waits until both nodes have been scraped once more.
func (p *server) scrapes() {
	p.t.Helper()
	begun := float64(time.Now().UnixMilli()) / 1000
	flow.Eventually(p.t, "another scrape", func() bool {
		at, ok := p.now("min(timestamp(up))")
		n, _ := p.now("sum(up)")
		return ok && n == 2 && at > begun
	})
}
