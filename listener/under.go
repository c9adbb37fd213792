package listener

import (
	"net"
	"reflect"
	"sync"
	"unsafe"
)

// overlaid has, for a connection that a tracked server sees and that doesn't lead to ours by NetConn, the one of ours
// below it. An entry ends when the server is done with the connection.
var hiddenConns sync.Map // of identity and *conn

// ours finds the connection of this package, under what other listeners have wrapped around it if need be.
func unwrap(nc net.Conn) (c *conn, wrapped bool) {
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
			return c, !c.statelessWrapper.Load()
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
func connIdentity(nc net.Conn) any {
	if reflect.ValueOf(nc).Comparable() {
		return nc
	}
	return (*struct{ kind, value unsafe.Pointer })(unsafe.Pointer(&nc)).value
}

func lookUp(nc net.Conn) (*conn, bool) {
	c, ok := hiddenConns.Load(connIdentity(nc))
	if !ok {
		return nil, false
	}
	return c.(*conn), true
}

// under is ours for a server that this set tracks.
func (s *Set) unwrapTracked(nc net.Conn) (c *conn, wrapped bool) {
	if c, wrapped = unwrap(nc); c == nil || c.set != s {
		return nil, false
	}
	return c, wrapped
}

// meet is under for a connection that a server is about to serve. A wrapper that only embeds a
// net.Conn, as most do, says nothing of what it wraps; but it passes deadlines on, or net/http's
// own would have no effect. So a deadline that is nobody else's is set, and the connection that
// gets it is the one. It works whatever goroutine has accepted that, and without a read.
func (s *Set) find(nc net.Conn) *conn {
	c, _ := unwrap(nc)
	if c == nil {
		if c = findByDeadline(nc); c == nil {
			c = s.findByAddress(nc)
		}
		if c == nil || c.hidden.Swap(true) {
			c = s.addForeign(nc)
		}
		c.statelessWrapper.Store(!c.foreign && stateless(nc))
		hiddenConns.Store(connIdentity(nc), c)
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

// addressed finds the connection that nc passes addresses on of, though not deadlines: each connection has its own
// value, which a wrapper hands out as it is.
func (s *Set) findByAddress(nc net.Conn) *conn {
	local, remote := nc.LocalAddr(), nc.RemoteAddr()
	for _, c := range s.all() {
		if c.foreign || c.state.Load() != 0 || c.hidden.Load() {
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

// shade stands for a connection under which nothing of ours can be found. Its reads are not seen: it counts as what the
// server says, and rests for as long as it is idle.
func (s *Set) addForeign(nc net.Conn) *conn {
	c := &conn{Conn: nc, set: s, foreign: true}
	c.hidden.Store(true)
	c.wrapped.Store(true)
	s.add(c)
	return c
}
