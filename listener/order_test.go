package listener

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// Whatever is called in whatever order returns. Only the first Leave leaves. In the end all that was opened is closed.
func TestMethodsInAnyOrder(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		set := New(Config{})
		var order []string
		var served, read chan error // nil unless it was opened
		var left []error
		leave := func() { left = append(left, set.Leave(context.Background(), nil, time.Hour)) }
		closed, late := false, false // and so when Leave was first called
		steps := map[string]func(){
			"Listen": func() {
				if ln, err := set.Listen("tcp", "127.0.0.1:0"); err == nil {
					served = make(chan error, 1)
					go func() { served <- set.Serve(&http.Server{}, ln) }()
				}
			},
			"ListenPacket": func() {
				if pc, err := set.ListenPacket("udp", "127.0.0.1:0"); err == nil {
					read = make(chan error, 1)
					go func() {
						_, _, err := pc.ReadFrom(make([]byte, 1))
						read <- err
					}()
				}
			},
			"Open": set.Open, "MayPark": set.MayPark, "Park": set.Park, "Unpark": set.Unpark,
			"PauseReads":  func() { set.PauseReads(context.Background()) },
			"ResumeReads": set.ResumeReads,
			"Inherit":     func() { set.Inherit(nil) },
			"Manage":      func() { set.Manage(nil, nil, nil) },
			"Keep":        func() { _, _ = set.Keep() },
			"Orphan":      func() { set.Orphan(set.Unclaimed()) },
			"Unshare":     set.Unshare,
			"Hurry":       func() { set.Hurry(0) },
			"Leave":       func() { late = closed; leave() },
			"Close":       func() { closed = true; set.Close() },
		}
		for name := range steps {
			order = append(order, name)
		}
		slices.Sort(order)
		dice.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, name := range order {
			steps[name]()
		}
		leave()
		if (left[0] == nil) == late || left[1] == nil {
			t.Errorf("%v: Leave returned %v, and then %v", order, left[0], left[1])
		}
		if served != nil {
			<-served
		}
		if read != nil {
			if err := <-read; !errors.Is(err, net.ErrClosed) {
				t.Errorf("%v: ReadFrom: %v", order, err)
			}
		}
	}
}
