//go:build linux && race

package pipeline

// With the tests, what the pipeline builds looks for data races of its own.
func init() { goflags += " -race" }
