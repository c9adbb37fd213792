//go:build unix

package drain

import (
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/baton-go/baton/drain/internal/controlsock"
)

// controlName is, with the path behind it, the name under which the control socket is passed on. It goes as a file, not
// as a listener: tableflip removes the files of unix listeners before a drain.
const controlName = "baton-control "

// openControl returns the control socket: the one of the generation before, or a new one.
func (sys *system) openControl(path string, log *slog.Logger) (*controlsock.Socket, error) {
	passed, err := sys.files.File(controlName + path)
	if err != nil {
		return nil, fmt.Errorf("drain: Config.ControlSocket: %w", err)
	}
	if passed != nil {
		defer passed.Close()
	}
	sock, err := controlsock.Open(path, passed, slices.Contains(sys.others, path), log)
	if err != nil {
		return nil, err
	}
	sys.control = sock
	return sock, sock.PassOn(func(f *os.File) error { return sys.files.AddFile(controlName+path, f) })
}
