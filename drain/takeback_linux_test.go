package drain

import (
	"net"
	"testing"
	"time"

	"github.com/baton-go/baton/drain/internal/lifecycle"
)

// Where the new generation dies while the old one prepares to let go, the old one may have taken everything
// back before it comes to pause the reads of its packet sockets. It reads datagrams all the same.
func TestDatagramsAreReadAfterASwapIsTakenBack(t *testing.T) {
	t.Parallel()
	s, _ := alone(t, Ready)
	defer s.endTest()
	pc, err := s.set.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sw := newSwap(3, nil, pending{})
	sw.side.Phase = lifecycle.Back
	s.set.ResumeReads() // as takeBack does
	s.pause(sw)
	nc, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte("here")); err != nil {
		t.Fatal(err)
	}
	_ = pc.SetReadDeadline(time.Now().Add(time.Minute))
	if n, _, err := pc.ReadFrom(make([]byte, 8)); n != 4 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
