//go:build unix

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/baton-go/baton/drain/draintest"
	"github.com/baton-go/baton/examples/internal/visitors"
)

func newLoad(cfg config, addr string, st *stats, may func() bool) *visitors.Load {
	once := st.recorder() // those that connect for one request share it
	return &visitors.Load{Mix: cfg.Mix, Addr: addr, Dial: cfg.secure.dial, May: may, Elsewhere: st.sentElsewhere,
		Each: func(c visitors.Class) func(draintest.Result) {
			u := &user{stats: st, class: c, rec: once}
			if c.Kept() {
				u.rec = st.recorder()
			}
			return u.count
		}}
}

// user is what is known of one client.
type user struct {
	stats   *stats
	class   visitors.Class
	rec     *recorder
	lastPid int
}

// count writes the outcome of a request down.
func (u *user) count(r draintest.Result) {
	st := u.stats
	begun := r.Begun.Sub(st.t0)
	end := begun + r.Took
	if r.Again {
		st.reconnected(u.class, begun)
	}
	pid, _ := strconv.Atoi(r.Answer.Header.Get("X-Pid"))
	if pid != 0 && pid != u.lastPid {
		u.lastPid = pid
		generation, _ := strconv.Atoi(r.Answer.Header.Get("X-Generation"))
		st.answered(pid, generation, end)
	}
	how := outcomeOf(r.Err)
	if how != ok {
		st.example(fmt.Sprintf("%v client at %v: %v", classNames[u.class], end.Round(time.Millisecond), r.Err))
	}
	u.rec.add(record{end: end, dur: r.Took, pid: int32(pid), class: u.class, outcome: how})
}

// outcomeOf says what a request's error counts as.
func outcomeOf(err error) outcome {
	if err == nil {
		return ok
	}
	if f := (*draintest.Failure)(nil); errors.As(err, &f) {
		if o := slices.Index(outcomeNames[:], f.Kind); o >= 0 {
			return outcome(o)
		}
	}
	return other
}
