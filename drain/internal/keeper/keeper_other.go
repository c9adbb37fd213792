//go:build !linux

// Package keeper is, on Linux, the process that stays when generations come and go.
package keeper

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Has returns false: there is none.
func Has() bool { return false }

// Become returns an error: this system has no keeper.
func Become(*slog.Logger, []os.Signal) error {
	return fmt.Errorf("drain: Config.Keeper: only Linux lets a process adopt the generations to come; "+
		"leave it at KeeperAuto (%w)", errors.ErrUnsupported)
}

// Hear does nothing: no keeper forwards signals.
func Hear([]os.Signal, <-chan struct{}, func(os.Signal, time.Time) bool, func()) {}
