//go:build unix

package drain

import (
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/baton-go/baton/listener"
)

const (
	// firstInherited is the descriptor at which those begin that tableflip v1.2.3 passes on, in the order of their names.
	firstInherited = 5
	// namesWait is how long the generation before may take to say the names.
	namesWait = 10 * time.Second
	// disguise is put, on the way to tableflip, before the network of each socket. The set takes copies of them, under names
	// that this version chooses; tableflip closes its own at Ready, and removes the files of those that it knows as unix ones.
	disguise = "inherited "
)

// takeNames reads the names that the generation before has given to what it passes on, and tells tableflip what is left
// for it to do. It returns the sockets.
func takeNames(from *os.File, to io.Writer) (sockets []listener.Inherited, err error) {
	_ = from.SetReadDeadline(time.Now().Add(namesWait))
	var names [][]string
	if err := gob.NewDecoder(from).Decode(&names); err != nil {
		return nil, fmt.Errorf("drain: the old generation does not say what it passes on: %w", err)
	}
	_ = from.SetReadDeadline(time.Time{})
	for i, name := range names {
		if len(name) == 3 && (name[0] == "listener" || name[0] == "packet") {
			sockets = append(sockets, listener.Inherited{Network: name[1], Address: name[2], FD: firstInherited + i})
			name[1] = disguise + name[1]
		}
	}
	return sockets, gob.NewEncoder(to).Encode(names)
}
