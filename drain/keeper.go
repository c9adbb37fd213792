package drain

import (
	"context"
	"log/slog"
	"os"

	"github.com/baton-go/baton/drain/internal/keeper"
	"github.com/baton-go/baton/drain/internal/machine"
)

// stay makes this process the keeper. It returns only if that can't be.
func stay(log *slog.Logger, v *emitter, stop []os.Signal) error {
	code, err := keeper.Stay(log, stop)
	if err != nil {
		return err
	}
	late, done := context.WithTimeout(context.Background(), lastWords)
	defer done()
	v.lines.Flush(late)
	os.Exit(code)
	return nil
}

// watchKeeper tells the keeper that signals are handled here, and tells when the keeper is gone. It is closed then.
func watchKeeper(keeper *os.File, in inbox, first bool) {
	if keeper == nil {
		return
	}
	if first {
		_, _ = keeper.Write([]byte{1})
	}
	_, _ = keeper.Read(make([]byte, 1))
	in.post(machine.KeeperGone{})
}
