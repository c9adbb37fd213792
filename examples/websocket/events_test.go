package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
)

// hasty is a client's end of which each write has a deadline.
type hasty struct {
	*httptest.ResponseRecorder
	t      *testing.T
	by     time.Time
	writes int
}

func (w *hasty) SetWriteDeadline(by time.Time) error { w.by = by; return nil }

func (w *hasty) Write(p []byte) (int, error) {
	w.writes++
	if left := time.Until(w.by); w.writes > 1 && (left <= 0 || left > unread) { // the first fits the socket's buffer
		w.t.Errorf("write %d has %v, want %v at most", w.writes, left, unread)
	}
	return w.ResponseRecorder.Write(p)
}

// A client that is asleep is waited for at each write, and at the end of the stream; not for ever.
func TestEventsWaitForNoSleeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gin.SetMode(gin.ReleaseMode)
		w := &hasty{ResponseRecorder: httptest.NewRecorder(), t: t}
		c, _ := gin.CreateTestContext(w)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c.Request = httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", nil)
		events(c)
		if left := time.Until(w.by); left != unread {
			t.Errorf("the end of the stream has %v, want %v", left, unread)
		}
		if want := int(time.Minute / interval); w.writes < want {
			t.Errorf("%d writes, want %d", w.writes, want)
		}
	})
}
