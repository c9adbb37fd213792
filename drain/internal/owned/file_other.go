//go:build !linux

package owned

import "os"

// newFile returns a temporary one, without a name. Windows can't remove an open one; it has no swaps.
func newFile() (*os.File, error) {
	f, err := os.CreateTemp("", "baton-state")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func seal(*os.File) error { return nil }
