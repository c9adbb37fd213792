package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/baton-go/baton/drain/internal/sdnotify"
)

// The limits of a datagram: systemd takes 4096 bytes, the kernel passes 253 descriptors.
const (
	noticeSize = 4096
	noticeFDs  = 253
)

// relayTimeout bounds the passing on of one datagram.
const relayTimeout = 5 * time.Second

// dying is how long a killed process may take to exit after its descriptors are closed, which is what
// the other generations see.
const dying = time.Second

func listenNotices(name string) (*net.UnixConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) (err error) {
		ctlErr := rc.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		})
		return errors.Join(ctlErr, err)
	}}
	conn, err := lc.ListenPacket(context.Background(), "unixgram", name)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// readNotices reads what the generations send. It is done with a datagram before it reads the next:
// when a generation sees the descriptor of its BARRIER=1 closed, all that it sent before has had its
// effect.
func (k *keeper) readNotices() {
	text := make([]byte, noticeSize+1)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*noticeFDs))
	for {
		n, oobn, flags, _, err := k.notices.ReadMsgUnix(text, oob)
		if err != nil {
			k.log.Error("keeper: can't hear which generation is main any more", "err", err)
			return
		}
		from, fds := parseControl(oob[:oobn])
		if n <= noticeSize && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0 && from != nil {
			k.handle(from, string(text[:n]), fds)
		}
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
}

func parseControl(oob []byte) (from *unix.Ucred, fds []int) {
	msgs, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range msgs {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			from = cred
		} else if rights, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, rights...)
		}
	}
	return from, fds
}

// handle takes MAINPID out and passes the rest on: to a manager above, the keeper is the main process.
func (k *keeper) handle(from *unix.Ucred, text string, fds []int) {
	if list, ok := strings.CutPrefix(text, sdnotify.KeeperSignals); ok {
		if int(from.Uid) == os.Getuid() && len(fds) == 1 {
			k.heard <- line{int(from.Pid), fds[0], strings.Split(list, ",")}
			fds[0] = -1 // kept
		}
		return
	}
	var rest []string
	pid := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		value, ok := strings.CutPrefix(line, "MAINPID=")
		switch {
		case ok:
			pid, _ = strconv.Atoi(value)
			continue
		case line == "":
			continue
		}
		rest = append(rest, line)
	}
	barrier := len(rest) == 1 && rest[0] == "BARRIER=1"
	if !k.accepts(from, pid, barrier) || len(rest) == 0 || k.upstream == "" {
		return
	}
	if err := k.relay(strings.Join(rest, "\n"), fds); err != nil {
		k.log.Warn("keeper: can't pass on what the service tells its manager", "err", err)
	}
}

// accepts tells whether a datagram counts. As under NotifyAccess=main, only the main generation is
// heard, with two exceptions. A barrier of our user counts: it comes from the generation that was main
// until now. A generation that names itself counts when the main one was killed in a swap.
func (k *keeper) accepts(from *unix.Ucred, pid int, barrier bool) bool {
	ours, claims := int(from.Uid) == os.Getuid(), pid > 0 && pid == int(from.Pid)
	main := <-k.present
	yes := int(from.Pid) == main.pid
	if !yes && ours && claims {
		yes = main.ends(dying)
	}
	if yes && pid > 0 {
		k.named <- pid
	}
	return yes || ours && barrier
}

func (k *keeper) relay(text string, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_ = k.notices.SetWriteDeadline(time.Now().Add(relayTimeout))
	if _, _, err := k.notices.WriteMsgUnix([]byte(text), oob,
		&net.UnixAddr{Net: "unixgram", Name: k.upstream}); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	return nil
}
