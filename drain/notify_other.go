//go:build !unix

package drain

import (
	"errors"
	"os"
)

func sendFile(string, string, *os.File) error { return errors.ErrUnsupported }
