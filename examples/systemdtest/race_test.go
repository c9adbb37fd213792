//go:build linux && race

package systemdtest

// With the tests, the service looks for data races of its own.
func init() { buildFlags = append(buildFlags, "-race") }
