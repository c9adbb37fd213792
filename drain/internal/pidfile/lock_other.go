//go:build !unix

package pidfile

import "os"

func hold(string) {}

// LetGo does nothing.
func LetGo() {}

// isHeld returns false: this system does not tell which processes live either.
func isHeld(*os.File) bool { return false }
