//go:build !unix

package drain

import (
	"errors"
	"fmt"
	"log/slog"
)

var errNoControl = fmt.Errorf("drain: Config.ControlSocket: not on this platform, where nothing tells "+
	"whose a client is: leave it empty (%w)", errors.ErrUnsupported)

func (*system) openControl(string, *slog.Logger) (*control, error) { return nil, errNoControl }

func checkControl(path string) error {
	if path == "" {
		return nil
	}
	return errNoControl
}
