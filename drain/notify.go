package drain

import (
	"cmp"
	"net"
	"os"
	"strings"
	"time"
)

// keeperSocket is NOTIFY_SOCKET if it is a keeper's. It is taken out of the environment before the program can start
// processes: unlike a service manager's it is meant for generations alone.
var keeperSocket = takeKeeperSocket()

func takeKeeperSocket() string {
	socket := os.Getenv("NOTIFY_SOCKET")
	if !strings.HasPrefix(socket, aloneSocket) && !strings.HasPrefix(socket, relaySocket) {
		return ""
	}
	_ = os.Unsetenv("NOTIFY_SOCKET")
	return socket
}

// notifySocket is where the service manager listens, or the keeper; "" if neither does.
func notifySocket() string { return cmp.Or(keeperSocket, os.Getenv("NOTIFY_SOCKET")) }

// sdNotify tells the service manager, see sd_notify(3). It is no error that there is none.
func sdNotify(text string) error {
	socket := notifySocket()
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(barrierWait))
	_, err = conn.Write([]byte(text))
	return err
}
