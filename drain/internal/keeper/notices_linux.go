package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a datagram can hold at most: systemd takes 4096 bytes, the kernel passes 253 descriptors.
const (
	noticeSize = 4096
	noticeFDs  = 253
)

// relayTimeout bounds the passing on of one datagram.
const relayTimeout = 5 * time.Second

// dying is how long a process that was killed may take to exit after its descriptors are closed,
// from which the others know.
const dying = time.Second

func listenNotices(name string) (*net.UnixConn, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		return nil, err
	}
	rc, err := conn.SyscallConn()
	if err == nil {
		var optErr error
		err = rc.Control(func(fd uintptr) {
			optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		})
		err = errors.Join(err, optErr)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// hear reads what the generations tell. A datagram is done with before the next is read, so that
// a generation that sees the descriptor of its BARRIER=1 closed knows that all before was heeded.
func (k *keeper) hear() {
	text := make([]byte, noticeSize+1)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*noticeFDs))
	for {
		n, oobn, flags, _, err := k.notices.ReadMsgUnix(text, oob)
		if err != nil {
			k.tell(slog.LevelError, "keeper: can't hear which generation is main any more", "err", err)
			return
		}
		from, fds := parseControl(oob[:oobn])
		if n <= noticeSize && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0 && from != nil {
			k.heed(from, string(text[:n]), fds)
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

// heed takes out which generation is main and passes the rest on: for a manager above, the keeper is.
func (k *keeper) heed(from *unix.Ucred, text string, fds []int) {
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
	if !k.believes(from, pid, barrier) || len(rest) == 0 || k.upstream == "" {
		return
	}
	if err := k.relay(strings.Join(rest, "\n"), fds); err != nil {
		k.tell(slog.LevelWarn, "keeper: can't pass on what the service tells its manager", "err", err)
	}
}

// believes tells whether a datagram counts, as under NotifyAccess=main: only the main generation's
// does, and a barrier of our user, because it comes from the one that has just ceased to be main. A
// generation that names itself has taken the place of a main one that was killed in a swap.
func (k *keeper) believes(from *unix.Ucred, pid int, barrier bool) bool {
	ours, claims := int(from.Uid) == os.Getuid(), pid > 0 && pid == int(from.Pid)
	var main *generation
	k.call(func() { main = k.main })
	yes := int(from.Pid) == main.pid
	if !yes && ours && claims {
		yes = main.ends(dying)
	}
	if yes && pid > 0 {
		k.call(func() { k.promote(pid) })
	}
	return yes || ours && barrier
}

func (k *keeper) call(f func()) {
	done := make(chan struct{})
	k.calls <- func() { defer close(done); f() }
	<-done
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
