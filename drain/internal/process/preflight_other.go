//go:build !unix

package process

import "errors"

// Preflight returns errors.ErrUnsupported: this system starts no next generation.
func Preflight(_, _ string) error { return errors.ErrUnsupported }
