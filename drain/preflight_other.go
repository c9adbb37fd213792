//go:build !unix

package drain

import "errors"

func preflight(string, string) error { return errors.ErrUnsupported }
func alive(int) bool                 { return false }
func command(int) string             { return "" }
