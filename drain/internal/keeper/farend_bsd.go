//go:build unix && !linux

package keeper

import (
	"os"

	"github.com/baton-go/baton/drain/internal/process"
)

// File returns nil: there is no keeper.
func File(*process.Files) (*os.File, error) { return nil, nil }
