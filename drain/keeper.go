package drain

import (
	"os"

	"github.com/baton-go/baton/drain/internal/machine"
)

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
