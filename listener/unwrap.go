package listener

import (
	"crypto/tls"
	"net"
	"reflect"
	"sync"
	"unsafe"
)

// hiddenConns has the conn below a connection that a tracked server sees, where NetConn does not
// lead to it. An entry ends when the server is done with the connection.
var hiddenConns sync.Map // of identity and *conn

// unwrap finds the conn below what other listeners have wrapped around it.
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
			return c, !c.wrapper.stateless.Load()
		}
		u, ok := layer.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		layer = u.NetConn()
	}
	return nil, false
}

// connIdentity is what a connection is known by: itself or, if Go can't compare it, the place in
// memory of the struct that the server got. Net/http keeps and passes on one interface value.
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

// unwrapTracked is unwrap for a server that this set tracks.
func (s *Set) unwrapTracked(nc net.Conn) (c *conn, wrapped bool) {
	if c, wrapped = unwrap(nc); c == nil || c.set != s {
		return nil, false
	}
	return c, wrapped
}

// find is unwrapTracked for a connection that a server is about to serve. A wrapper that only
// embeds a net.Conn, as most do, says nothing of what it wraps. But it passes deadlines on, or
// net/http's own would have no effect. So find sets a deadline that no server uses: the conn that
// gets it is the one. That works for any goroutine that has accepted the conn, and without a read.
func (s *Set) find(nc net.Conn) *conn {
	c, _ := unwrap(nc)
	if c == nil {
		if c = findByDeadline(nc); c == nil {
			c = s.findByAddress(nc)
		}
		if c == nil || c.wrapper.hides.Swap(true) {
			c = s.addForeign(nc)
		}
		c.wrapper.stateless.Store(!c.foreign && stateless(nc))
		hiddenConns.Store(connIdentity(nc), c)
	}
	if c == nil || c.set != s {
		return nil
	}
	return c
}

// stateless tells whether a connection that a listener has wrapped can be handed over: the next
// process's listener wraps it again. A wrapper that has nothing but the connection it embeds has
// nothing to lose. Others say so by a method Movable.
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

// findByAddress finds the conn of a wrapper that passes addresses on, though not deadlines. Each
// conn has its own address value, which a wrapper returns as it is.
func (s *Set) findByAddress(nc net.Conn) *conn {
	local, remote := nc.LocalAddr(), nc.RemoteAddr()
	for _, c := range s.all() {
		if c.foreign || c.state.Load() != 0 || c.wrapper.hides.Load() || c.adopted.dormant && !c.adopted.awake.Load() {
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

// addForeign stands for a connection under which no conn of this package can be found. Its reads
// are not seen. It counts as what the server says, and rests for as long as it is idle.
func (s *Set) addForeign(nc net.Conn) *conn {
	c := &conn{Conn: nc, set: s, foreign: true, age: age{end: endOfAge(s.cfg.MaxAge, 0)}}
	c.wrapper.hides.Store(true)
	c.wrapper.seen.Store(true)
	s.add(c)
	return c
}

// encrypted is what servers look for to see that a connection is encrypted: *tls.Conn and others
// have it.
type encrypted interface {
	ConnectionState() tls.ConnectionState
}
