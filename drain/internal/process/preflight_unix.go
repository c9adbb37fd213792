//go:build unix

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Preflight finds what makes a start impossible, while there is nothing to undo: what is wrong with the binary, or with
// the folder to start it in.
func Preflight(binary, dir string) error {
	switch folder, err := os.Stat(dir); {
	case dir == "":
		return errors.New("preflight: the working folder was gone when this process started; start the " +
			"service in one that stays")
	case err != nil:
		return fmt.Errorf("preflight: the working folder: %w; the next generation is started where "+
			"this one was: put a folder, or a link to one, there", err)
	case !folder.IsDir():
		return fmt.Errorf("preflight: the working folder %s is no folder; the next generation is started "+
			"where this one was", dir)
	}
	info, err := os.Stat(binary)
	switch {
	case binary == "":
		return fmt.Errorf("preflight: no path leads to the binary of this process (%s); start it by its "+
			"path", Self.Args)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("preflight: %s is missing; put the new binary there, by rename", binary)
	case err != nil:
		return fmt.Errorf("preflight: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("preflight: %s is not a regular file (%s)", binary, info.Mode())
	case unix.Access(binary, unix.X_OK) != nil:
		return fmt.Errorf("preflight: %s is not executable by this user (%s); chmod +x it", binary, info.Mode())
	case info.Size() == 0:
		return fmt.Errorf("preflight: %s is empty; copy beside it and rename", binary)
	case os.Geteuid() == 0 && info.Mode().Perm()&0o002 != 0:
		return fmt.Errorf("preflight: %s may be written by everybody (%s), and this process is root; "+
			"chmod o-w it", binary, info.Mode())
	}
	return nil
}
