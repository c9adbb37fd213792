package drain

import (
	"context"
	"testing"
	"testing/synctest"
)

// The next generation must call Join where Leave was called last, however late the word of Join comes.
func TestJoinIsUndoneByALeaveThatOvertakesItsReturn(t *testing.T) {
	hook := func(context.Context) error { return nil }
	for _, leave := range []func(context.Context) error{hook, nil} {
		synctest.Test(t, func(t *testing.T) {
			cfg, err := Config{Join: hook, Leave: leave}.complete()
			if err != nil {
				t.Fatal(err)
			}
			h := &hooks{inbox: newInbox(), ctx: t.Context(), cfg: &cfg}
			h.join()
			synctest.Wait() // Join has returned, and nobody has read that yet
			h.leave()
			for range 2 {
				select {
				case e := <-h.events:
					if err := h.returned(e.(hookReturned)); err != nil {
						t.Error(err)
					}
				default:
				}
				synctest.Wait()
			}
			var m message
			h.part(func() bool { return true }).release(&m)
			if !m.Join {
				t.Errorf("Leave was called last, and the next generation is told not to join; Leave is set: %t",
					leave != nil)
			}
		})
	}
}
