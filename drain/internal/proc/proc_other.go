//go:build !unix

// Package proc knows of other processes, by their numbers.
package proc

// Alive returns false: this system does not tell.
func Alive(int) bool { return false }

// Namespace returns "": this system has none.
func Namespace() string { return "" }

// Command returns "": this system does not tell.
func Command(int) string { return "" }

// Traced returns false: this system does not tell.
func Traced() bool { return false }
