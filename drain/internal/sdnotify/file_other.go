//go:build !unix

package sdnotify

import (
	"errors"
	"os"
)

func sendFile(string, string, *os.File) error { return errors.ErrUnsupported }
