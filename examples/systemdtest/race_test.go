//go:build linux && race

package systemdtest

import "github.com/baton-go/baton/examples/internal/flow"

// With the tests, the services look for data races of their own.
func init() { flow.BuildFlags = append(flow.BuildFlags, "-race") }
