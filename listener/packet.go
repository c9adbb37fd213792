package listener

import (
	"context"
	"net"
	"time"

	"github.com/cloudflare/tableflip"

	"github.com/baton-go/baton/listener/internal/dgram"
	"github.com/baton-go/baton/listener/internal/sockopt"
)

// ListenPacket is Listen for "udp", "udp4", "udp6", "unixgram" and "fd". What it returns is not a
// *net.UDPConn or *net.UnixConn but has all of its methods, for type assertions to interfaces.
//
// One process at a time reads. Reads wait until Open, and end with net.ErrClosed after Leave. A
// datagram that was read before is the reader's to answer. Writes go on until Close, which Leave
// leaves to the caller.
//
// At the last Leave, where no process takes over and no service manager holds the socket, what the
// kernel has queued is read before reads end. So the goroutine that reads must go on until
// net.ErrClosed. On Linux nothing is added to the queue from then on. A client of a unixgram socket
// gets EPIPE. One of a UDP socket that is bound to one address gets ICMP's port unreachable. What comes
// to a socket that is bound to all addresses is dropped, and its client is not told.
//
// Not promised: that the client of a unixgram socket finds the answers that it has not read when it
// sends again after the last process has ended. If it is connected, Linux empties its queue then
// (unix_dgram_disconnected in af_unix.c).
//
// A unixgram socket's file from which no process reads any more is replaced. It is removed when the last
// process ends.
func (s *Set) ListenPacket(network, address string) (net.PacketConn, error) {
	return s.ListenPacketWith(net.ListenConfig{}, network, address)
}

// ListenPacketWith is ListenPacket with the Control of lc, as in ListenWith. It returns an error in the same cases.
func (s *Set) ListenPacketWith(lc net.ListenConfig, network, address string) (net.PacketConn, error) {
	key := network + " " + address
	s.mu.Lock()
	defer s.mu.Unlock()
	pc, made, err := inheritOrOpen(s, network, address, socketKind[net.PacketConn]{
		networks:  []string{"udp", "udp4", "udp6", "unixgram"},
		taken:     s.packets[key] != nil,
		inherited: func(as string) (net.PacketConn, error) { return s.cfg.Fds.PacketConn(as, address) },
		passed:    func(p *inheritedSocket) net.PacketConn { return p.pc },
		open: func() (net.PacketConn, error) {
			return lc.ListenPacket(context.Background(), network, address)
		},
		add: func(as string, pc net.PacketConn) error {
			return s.cfg.Fds.AddPacketConn(as, address, pc.(tableflip.PacketConn))
		},
	})
	if err != nil {
		return nil, err
	}
	gate := dgram.New(pc, dgram.Config{
		Path:        madeFile(network, address, made),
		RemovesFile: s.cfg.Fds == nil, // or tableflip does, in the last process that was ever ready
		Open:        s.open,
		Closing:     func(g *dgram.Gate) { s.forgetPackets(key, made, g) },
	})
	s.packets[key] = gate
	return gate.Conn(), nil
}

// endReads makes reads from the packet sockets end with net.ErrClosed, and returns when none is
// under way any more, or ctx is over.
func (s *Set) endReads(ctx context.Context) {
	for _, g := range s.gates() {
		g.Pass(ctx, dgram.Ended)
	}
}

// PauseReads makes reads from the packet sockets wait, and returns when none is under way any more,
// or ctx is over. Then another process may begin to read; if it doesn't, ResumeReads lets them go
// on. Leave ends paused reads, too.
func (s *Set) PauseReads(ctx context.Context) {
	for _, g := range s.gates() {
		g.Pass(ctx, dgram.Paused)
	}
}

// ResumeReads undoes PauseReads.
func (s *Set) ResumeReads() {
	for _, g := range s.gates() {
		g.Resume()
	}
}

// sealDelay is how long the kernel may take to queue datagrams that were on their way when a socket
// was sealed.
const sealDelay = 5 * time.Millisecond

// lastReads lets reads go on until the queues are read, and keeps out what comes later, where no
// other process will read.
func (s *Set) lastReads(ctx context.Context) {
	var dying []*dgram.Gate
	held := s.Held()
	for key, g := range s.gates() {
		if held[key] == "" && g.At(dgram.Open) {
			sockopt.Seal(g.Socket())
			dying = append(dying, g)
		} else {
			g.Pass(ctx, dgram.Ended)
		}
	}
	if len(dying) > 0 {
		time.Sleep(sealDelay)
	}
	for _, g := range dying {
		g.Pass(ctx, dgram.Draining)
	}
}
