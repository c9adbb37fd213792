package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// visit is a request that has passed the gate. Its handler's context leads to it.
type visit struct {
	gate           *Gate
	ctx            context.Context // as it came
	method, target string
	begun          time.Time

	handlers int  // guarded by gate.mu: 0 after the end, more than 1 with a request within
	endless  bool // guarded by gate.mu: the gate does not wait for it
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	return v
}

// Endless makes the request that ctx comes from one that no gate waits for. It may be called any number of times,
// and after the end of the request. It does nothing for other contexts.
func Endless(ctx context.Context) {
	for v := visitOf(ctx); v != nil; v = visitOf(v.ctx) {
		v.goesOn()
	}
}

// isHijacked makes a visit endless whose handler has hijacked the connection.
func (v *visit) isHijacked() bool {
	hijacked := v.gate.hijacked(v.ctx)
	if hijacked {
		v.goesOn()
	}
	return hijacked
}

// goesOn makes the visit endless.
func (v *visit) goesOn() {
	v.gate.mu.Lock()
	defer v.gate.mu.Unlock()
	if v.handlers > 0 && !v.endless {
		v.endless = true
		v.gate.endless++
		v.gate.forget(v)
	}
}

// stillRun is an error that names the oldest of all.
func stillRun(cause error, all []*visit) error {
	const most, longest = 3, 200 // visits; bytes of a path
	slices.SortFunc(all, func(a, b *visit) int { return a.begun.Compare(b.begun) })
	var named []string
	for _, v := range all[:min(most, len(all))] {
		path, _, _ := strings.Cut(v.target, "?") // what follows may be secret
		if len(path) > longest {
			path = path[:longest] + "…"
		}
		named = append(named, fmt.Sprintf("%s %s for %v", v.method, path, time.Since(v.begun).Round(time.Millisecond)))
	}
	if more := len(all) - most; more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("%w: handlers still run: %s", cause, strings.Join(named, ", "))
}
