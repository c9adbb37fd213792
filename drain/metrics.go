package drain

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/baton-go/baton/listener"
)

// metricsType is the Content-Type of what WriteMetrics writes.
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// WriteMetrics writes the status as Prometheus metrics, in the text format 0.0.4, all under names
// that begin with "baton_". [Service.MetricsHandler] and GET /metrics on the control socket answer
// with it. Control has the command "metrics", for node_exporter's textfile collector. A
// handler that has metrics of the program too writes them before or after, with the Content-Type
// "text/plain; version=0.0.4".
//
// Gauges have a label generation, one value for the main one and each that still drains, and end with it:
//
//	baton_generation_info{generation,pid,role,version}     1; role is "main" or "older"; a version may be unknown: ""
//	baton_phase{generation,phase}                          1 for the phase it is in, 0 for the others
//	baton_phase_start_timestamp_seconds{generation}
//	baton_drain_deadline_timestamp_seconds{generation}     of those that drain: when what is left is cut off
//	baton_drain_hurried{generation}                        of older ones: 1 if told to leave sooner
//	baton_connections{generation,state}                    open: new, idle, active, hijacked, http2, other
//	baton_background_tasks{generation}                     of Service.Go and Lead
//	baton_pulled, baton_pull_noticed, baton_healthy        of the main one
//	baton_last_swap_successful                             1, or 0: this generation has tried one that failed
//	baton_last_swap_timestamp_seconds                      both are there once a swap was tried
//
// Counters have none, and go on where a generation ends; see Totals:
//
//	baton_connections_adopted_total, baton_connections_handed_over_total, baton_connections_aged_total,
//	baton_connections_lost_total
//	baton_requests_total, baton_requests_aside_total       given to handlers; of these, those of Totals.Aside
//	baton_losses_total{kind}                               cut_off, part, junk; see listener.Counts
//	baton_swaps_total{result}                              "success" or "failure"
//	baton_log_dropped_total                                log lines that Config.Logger did not take
//
// It should be asked of the main generation, which is the one that new connections reach: an older one knows of itself
// alone. The error is that of w.
func (st Status) WriteMetrics(w io.Writer) error {
	var m metrics
	main := Peer{Generation: st.Generation, PID: st.PID, Phase: st.Phase, Since: st.Since,
		Deadline: st.Deadline, Open: st.Open, Tasks: len(st.Background)}
	all := append([]Peer{main}, st.Older...)

	versions := map[int]string{}
	for _, r := range st.History {
		if r.Err == "" {
			versions[r.Generation] = r.Version
		}
	}
	versions[st.Generation] = st.Version
	m.family("generation_info", "gauge", "The living generations of the service.")
	for i, p := range all {
		m.sample(1, "generation", strconv.Itoa(p.Generation), "pid", strconv.Itoa(p.PID), "role",
			[]string{"main", "older"}[min(i, 1)], "version", versions[p.Generation])
	}
	m.family("phase", "gauge", "What a generation is doing: 1 for its phase, 0 for the others.")
	for _, p := range all {
		for _, phase := range []Phase{Starting, Probation, Ready, Pulled, Swapping, Draining, Stopped} {
			m.sample(truth(p.Phase == phase), "generation", strconv.Itoa(p.Generation), "phase", string(phase))
		}
	}
	m.times("phase_start_timestamp_seconds", "When a generation entered its phase.", all,
		func(p Peer) time.Time { return p.Since })
	m.times("drain_deadline_timestamp_seconds", "When what is left of a generation that drains is cut off.",
		all, func(p Peer) time.Time { return p.Deadline })
	if len(st.Older) > 0 {
		m.family("drain_hurried", "gauge", "Whether an older generation was told to leave sooner than "+
			"its configuration says.")
		for _, p := range st.Older {
			m.sample(truth(p.Hurried), "generation", strconv.Itoa(p.Generation))
		}
	}
	m.family("connections", "gauge", "Open connections, by what they do.")
	for _, p := range all {
		for _, s := range states(p.Open) {
			m.sample(float64(s.count), "generation", strconv.Itoa(p.Generation), "state", s.name)
		}
	}
	m.family("background_tasks", "gauge", "Background work that a drain waits for.")
	for _, p := range all {
		m.sample(float64(p.Tasks), "generation", strconv.Itoa(p.Generation))
	}
	m.family("pulled", "gauge", "Whether probers are told to take the node out.")
	m.sample(truth(st.Pulled))
	m.family("pull_noticed", "gauge", "Whether the probers have noticed the pull.")
	m.sample(truth(st.Noticed))
	m.family("healthy", "gauge", "Whether Config.Healthy has last found nothing wrong.")
	m.sample(truth(st.Unhealthy == ""))
	if st.LastSwap != nil {
		m.family("last_swap_successful", "gauge", "Whether the last swap has ended with another main generation.")
		m.sample(truth(st.LastSwap.Err == ""))
		m.family("last_swap_timestamp_seconds", "gauge", "When the last swap ended.")
		m.sample(float64(st.LastSwap.At.UnixMilli()) / 1000)
	}
	m.family("connections_adopted_total", "counter", "Connections that a generation took over from another.")
	m.sample(float64(st.Total.Adopted))
	m.family("connections_handed_over_total", "counter", "Connections that a generation handed over to another.")
	m.sample(float64(st.Total.Moved))
	m.family("connections_aged_total", "counter", "Connections that were told to end, by MaxConnectionAge.")
	m.sample(float64(st.Total.Aged))
	m.family("connections_lost_total", "counter", "Requests that were lost, perhaps: unread in a "+
		"connection that was closed, or cut off.")
	m.sample(float64(st.Total.Lost))
	m.family("requests_total", "counter", "Requests that were given to handlers.")
	m.sample(float64(st.Total.Requests))
	m.family("requests_aside_total", "counter", "Of these, those of probers and operators.")
	m.sample(float64(st.Total.Aside))
	m.family("losses_total", "counter", "What else the loss ledger has, and what of the lost requests was cut off.")
	m.sample(float64(st.Total.CutOff), "kind", "cut_off")
	m.sample(float64(st.Total.Part), "kind", "part")
	m.sample(float64(st.Total.Junk), "kind", "junk")
	m.family("swaps_total", "counter", "Swaps of the binary, by how they ended.")
	m.sample(float64(st.Total.Swaps), "result", "success")
	m.sample(float64(st.Total.FailedSwaps), "result", "failure")

	m.family("log_dropped_total", "counter", "Log lines that the logger did not take.")
	m.sample(float64(st.Total.LogDropped))

	_, err := w.Write(m.Bytes())
	return err
}

// serveMetrics answers with the metrics of one moment.
func serveMetrics(w http.ResponseWriter, st Status) {
	w.Header().Set("Content-Type", metricsType)
	_ = st.WriteMetrics(w)
}

// metrics is text in Prometheus' format.
type metrics struct {
	bytes.Buffer
	name string // of the present family
}

func (m *metrics) family(name, kind, help string) {
	m.name = "baton_" + name
	fmt.Fprintf(m, "# HELP %s %s\n# TYPE %s %s\n", m.name, help, m.name, kind)
}

// escaped is a label's value as the format wants it.
var escaped = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// sample adds one to the family. The labels are names and values.
func (m *metrics) sample(value float64, labels ...string) {
	m.WriteString(m.name)
	for i := 0; i < len(labels); i += 2 {
		fmt.Fprintf(m, `%c%s="%s"`, "{,"[min(i, 1)], labels[i], escaped.Replace(strings.ToValidUTF8(labels[i+1], "?")))
	}
	if len(labels) > 0 {
		m.WriteByte('}')
	}
	m.WriteByte(' ')
	m.WriteString(strconv.FormatFloat(value, 'f', -1, 64))
	m.WriteByte('\n')
}

// times is a family of the generations that have such a time; there is none if none has.
func (m *metrics) times(name, help string, of []Peer, at func(Peer) time.Time) {
	begun := false
	for _, p := range of {
		t := at(p)
		if t.IsZero() {
			continue
		}
		if !begun {
			m.family(name, "gauge", help)
			begun = true
		}
		m.sample(float64(t.UnixMilli())/1000, "generation", strconv.Itoa(p.Generation))
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// state is how many connections do one thing.
type state struct {
	name  string
	count int
}

func states(n listener.Counts) []state {
	return []state{{"new", n.New}, {"idle", n.Idle}, {"active", n.Active}, {"hijacked", n.Hijacked},
		{"http2", n.HTTP2}, {"other", n.Other}}
}
