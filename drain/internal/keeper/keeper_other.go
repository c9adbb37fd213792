//go:build !linux

// Package keeper is, on Linux, the process that stays when generations come and go.
package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
)

// Wanted tells whether this process is asked to become a keeper.
func Wanted(asked bool) bool { return asked }

// Become returns an error: this system has no keeper.
func Become(*slog.Logger, []os.Signal) error {
	return fmt.Errorf("drain: Config.Keeper: only Linux lets a process adopt the generations to come; "+
		"leave it unset (%w)", errors.ErrUnsupported)
}
