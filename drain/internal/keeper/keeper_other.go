//go:build !linux

// Package keeper is the process that stays where a container or a supervisor follows one pid: on Linux.
package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
)

// Wanted tells whether this process is asked to become a keeper.
func Wanted(asked bool) bool { return asked }

// Stay returns an error: this system can't.
func Stay(*slog.Logger, []os.Signal) (int, error) {
	return 0, fmt.Errorf("drain: Config.Keeper: only Linux lets a process adopt the generations to come; "+
		"leave it unset (%w)",
		errors.ErrUnsupported)
}
