package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

// A connection ID has the mark of the process that has chosen it, and a random rest.
const markLen, idLen = 4, 12

// udpConn is what ListenPacket returns for UDP.
type udpConn interface {
	quic.OOBCapablePacketConn
	SetWriteBuffer(bytes int) error // quic-go looks for it
}

// socket is the UDP socket that all processes of the service share: all write, the newest reads. It passes on what is
// for an older one, which gets that by a unix socket and answers by the UDP socket.
type socket struct {
	udpConn
	mark   []byte
	folder string
	peers  *net.UnixConn        // bound to the mark's path: what newer processes pass on comes here
	full   map[string]time.Time // marks of processes that do not read, and since when
	passed bool                 // a newer process reads from the UDP socket
	in     [4096]byte
}

func newSocket(pc udpConn, folder string) (*socket, error) {
	s := &socket{udpConn: pc, mark: make([]byte, markLen), folder: folder, full: map[string]time.Time{}}
	_, _ = rand.Read(s.mark)
	err := os.MkdirAll(folder, 0o700) // no other user's packets
	if err == nil {
		s.peers, err = net.ListenUnixgram("unixgram", s.path(s.mark))
	}
	return s, err
}

func (s *socket) path(mark []byte) *net.UnixAddr {
	return &net.UnixAddr{Net: "unixgram", Name: filepath.Join(s.folder, hex.EncodeToString(mark))}
}

// forget is for the end of the process.
func (s *socket) forget() {
	_ = os.Remove(s.path(s.mark).Name)
	_ = s.peers.Close()
}

// GenerateConnectionID and ConnectionIDLen are quic-go's ConnectionIDGenerator.
func (s *socket) GenerateConnectionID() (quic.ConnectionID, error) {
	id := make([]byte, idLen)
	_, _ = rand.Read(id[copy(id, s.mark):])
	return quic.ConnectionIDFromBytes(id), nil
}

func (s *socket) ConnectionIDLen() int { return idLen }

// ReadBatch is what quic-go reads with. It returns one packet that is for this process, or for nobody.
func (s *socket) ReadBatch(ms []ipv4.Message, _ int) (_ int, err error) {
	m := &ms[0]
	for !s.passed {
		var from *net.UDPAddr
		m.N, m.NN, m.Flags, from, err = s.ReadMsgUDP(m.Buffers[0], m.OOB)
		if s.passed = errors.Is(err, net.ErrClosed); s.passed {
			break
		}
		if m.Addr = from; err != nil || !s.passOn(m) {
			return 1, err
		}
	}
	return s.readPassed(m)
}

// passOn tells whether the packet is another process's, which has it now or has too much.
func (s *socket) passOn(m *ipv4.Message) bool {
	packet := m.Buffers[0][:m.N]
	mark := markOf(packet)
	if mark == nil || bytes.Equal(mark, s.mark) {
		return false
	}
	if time.Since(s.full[string(mark)]) < time.Second {
		return true
	}
	from, _ := m.Addr.(*net.UDPAddr).AddrPort().MarshalBinary()
	all := slices.Concat([]byte{byte(len(from)), byte(m.NN)}, from, m.OOB[:m.NN], packet)
	_ = s.peers.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := s.peers.WriteToUnix(all, s.path(mark))
	if errors.Is(err, os.ErrDeadlineExceeded) { // it hangs: its packets are lost, but nobody else's wait for it
		s.full[string(mark)] = time.Now()
		return true
	}
	return err == nil
}

// readPassed reads what a newer process has passed on.
func (s *socket) readPassed(m *ipv4.Message) (int, error) {
	n, err := s.peers.Read(s.in[:])
	if err != nil {
		return 0, err
	}
	oob := 2 + int(s.in[0])
	packet := oob + int(s.in[1])
	var from netip.AddrPort
	if err := from.UnmarshalBinary(s.in[2:oob]); err != nil || n < packet {
		return 0, fmt.Errorf("%d bytes that no process has passed on: %w", n, err)
	}
	m.Addr = net.UDPAddrFromAddrPort(from)
	m.NN = copy(m.OOB, s.in[oob:packet])
	m.N = copy(m.Buffers[0], s.in[packet:n])
	return 1, nil
}

// markOf returns the mark in the connection ID that a packet is for (RFC 9000, section 17), or nil. The client has
// chosen the ID of its first packets, which so are for nobody, but for one in four billion.
func markOf(packet []byte) []byte {
	const long = 0x80
	switch {
	case len(packet) > idLen && packet[0]&long == 0:
		return packet[1:][:markLen]
	case len(packet) > 6+idLen && packet[0]&long != 0 && packet[5] == idLen: // after the version
		return packet[6:][:markLen]
	}
	return nil
}

// SetReadDeadline is how quic-go ends its reads.
func (s *socket) SetReadDeadline(t time.Time) error {
	return errors.Join(s.udpConn.SetReadDeadline(t), s.peers.SetReadDeadline(t))
}
