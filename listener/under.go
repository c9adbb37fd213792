package listener

import (
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// overlaid has, for a connection that a tracked server sees and that doesn't lead to ours by NetConn, the one of ours
// below it. An entry ends when the server is done with the connection.
var overlaid sync.Map // of identity and *conn

// knocks are the deadlines that look for a connection of ours, and where the one that was given such a deadline goes.
var (
	knocks  sync.Map // of int64, the deadline in Unix nanoseconds, and *atomic.Pointer[conn]
	knocked atomic.Int64
)

// knockTime is the first of those deadlines. Nobody means it: it is in the year 2200.
var knockTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// ours finds the connection of this package, under what other listeners have wrapped around it if need be.
func ours(nc net.Conn) (c *conn, wrapped bool) {
	for layer := nc; ; wrapped = true {
		switch own := layer.(type) {
		case *conn:
			return own, wrapped
		case tcpConn:
			return own.conn, wrapped
		}
		u, ok := layer.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		layer = u.NetConn()
	}
	for layer := nc; layer != nil; { // the server has seen one of them
		if c, ok := lookUp(layer); ok {
			return c, !c.bare.Load()
		}
		u, ok := layer.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		layer = u.NetConn()
	}
	return nil, false
}

// identity is what a connection is known by: itself or, if Go can't compare it, the place in memory
// of the struct that the server got. Net/http keeps and passes on one interface value.
func identity(nc net.Conn) any {
	if reflect.ValueOf(nc).Comparable() {
		return nc
	}
	return (*struct{ kind, value unsafe.Pointer })(unsafe.Pointer(&nc)).value
}

func lookUp(nc net.Conn) (*conn, bool) {
	c, ok := overlaid.Load(identity(nc))
	if !ok {
		return nil, false
	}
	return c.(*conn), true
}

// under is ours for a server that this set tracks.
func (s *Set) under(nc net.Conn) (c *conn, wrapped bool) {
	if c, wrapped = ours(nc); c == nil || c.set != s {
		return nil, false
	}
	return c, wrapped
}

// meet is under for a connection that a server is about to serve. A wrapper that only embeds a
// net.Conn, as most do, says nothing of what it wraps; but it passes deadlines on, or net/http's
// own would have no effect. So a deadline that is nobody else's is set, and the connection that
// gets it is the one. It works whatever goroutine has accepted that, and without a read.
func (s *Set) meet(nc net.Conn) *conn {
	c, _ := ours(nc)
	if c == nil {
		if c = knock(nc); c == nil {
			c = s.addressed(nc)
		}
		if c == nil || c.covered.Swap(true) {
			c = s.shade(nc)
		}
		c.bare.Store(!c.shaded && stateless(nc))
		overlaid.Store(identity(nc), c)
	}
	if c == nil || c.set != s {
		return nil
	}
	return c
}

// stateless tells whether a connection that a listener has wrapped can be moved: the next process's
// listener wraps it again. A wrapper that has nothing but the connection it embeds has nothing to
// lose. Others say so by a method Movable.
func stateless(nc net.Conn) bool {
	if m, ok := nc.(interface{ Movable() bool }); ok {
		return m.Movable()
	}
	switch nc.(type) {
	case *conn, tcpConn:
		return true
	}
	v := reflect.ValueOf(nc)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || v.NumField() != 1 || !v.Type().Field(0).Anonymous ||
		!v.Type().Field(0).IsExported() {
		return false
	}
	below, ok := v.Field(0).Interface().(net.Conn)
	return ok && stateless(below)
}

func knock(nc net.Conn) *conn {
	t := knockTime.Add(time.Duration(knocked.Add(1)))
	var found atomic.Pointer[conn]
	knocks.Store(t.UnixNano(), &found)
	defer knocks.Delete(t.UnixNano())
	_ = nc.SetReadDeadline(t)
	_ = nc.SetReadDeadline(time.Time{}) // wrappers may have kept the other; net/http sets its own next
	return found.Load()
}

// addressed finds the connection that nc passes addresses on of, though not deadlines: each connection has its own
// value, which a wrapper hands out as it is.
func (s *Set) addressed(nc net.Conn) *conn {
	local, remote := nc.LocalAddr(), nc.RemoteAddr()
	for _, c := range s.all() {
		if c.shaded || c.state.Load() != 0 || c.covered.Load() {
			continue
		}
		if same(local, c.LocalAddr()) && same(remote, c.RemoteAddr()) {
			return c
		}
	}
	return nil
}

// same tells whether two addresses are one in memory.
func same(a, b net.Addr) bool {
	v, w := reflect.ValueOf(a), reflect.ValueOf(b)
	return v.Kind() == reflect.Pointer && w.Kind() == reflect.Pointer && v.Pointer() == w.Pointer()
}

// answers tells whether t was no deadline but a knock, which c answers.
func (c *conn) answers(t time.Time) bool {
	if t.Before(knockTime) {
		return false
	}
	found, ok := knocks.Load(t.UnixNano())
	if ok {
		found.(*atomic.Pointer[conn]).Store(c)
	}
	return ok
}

// shade stands for a connection under which nothing of ours can be found. Its reads are not seen: it counts as what the
// server says, and rests for as long as it is idle.
func (s *Set) shade(nc net.Conn) *conn {
	c := &conn{Conn: nc, set: s, shaded: true}
	c.covered.Store(true)
	c.wrapped.Store(true)
	s.add(c)
	return c
}

// turn is called when the state of one that is shaded has changed, and when the set leaves.
func (c *conn) turn() {
	switch d := c.set.leaving.Load(); {
	case c.state.Load()-1 == int32(http.StateClosed), c.state.Load()-1 == int32(http.StateHijacked):
		c.set.remove(c)
	case d != nil && c.waits():
		now := time.Now()
		c.mu.Lock()
		at := d.closes(c, true, now)
		c.mu.Unlock()
		if now.Before(at) {
			time.AfterFunc(at.Sub(now), c.turn)
		} else {
			_ = c.Conn.Close() // which the server notices
		}
	}
}
