// Package controlsock is the socket on which a service takes commands. It is a unix socket that this user and root
// alone can reach. Each generation passes it on to the next.
package controlsock

import (
	"fmt"
	"path/filepath"
)

// Clean makes a path one that means the same to every generation.
func Clean(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", wrong("%w", err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", wrong("%s: %w; name a file in a folder that exists", path, err)
	}
	return filepath.Join(dir, filepath.Base(abs)), nil
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("drain: Config.ControlSocket: "+format, args...)
}
