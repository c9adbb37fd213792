//go:build unix && race

package flow

// With the tests, the services look for data races of their own.
func init() { buildFlags = append(buildFlags, "-race") }
