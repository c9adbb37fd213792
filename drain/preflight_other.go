//go:build !unix

package drain

import "errors"

func findBinary(arg0 string) (string, error) { return arg0, nil }
func preflight(string) error                 { return errors.ErrUnsupported }
func alive(int) bool                         { return false }
func command(int) string                     { return "" }
