package drain

import (
	"log/slog"

	"github.com/baton-go/baton/drain/internal/pidfile"
	"github.com/baton-go/baton/drain/internal/process"
)

// pidFilePart is Config.PIDFile, which names the main generation. The first generation has no other to name, and fails
// where it can't write the file.
func pidFilePart(path string, pid int, first bool, in inbox, log *slog.Logger) part {
	var place func() error
	file := pidfile.Path(path)
	return part{
		prepare: func() (err error) {
			if place, err = file.Prepare(pid); err == nil && first {
				err = place()
				place = nil
			}
			return err
		},
		inherit: func(m message) {
			if process.AtStart(m.PIDFile) != path { // the old version's, or none
				soon(func() { _ = pidfile.Path(m.PIDFile).Remove(m.PID) })
			}
		},
		acquire: func() { // a program that hears that this generation serves finds its pid in the file
			if place == nil {
				return
			}
			if !soon(func() {
				if err := place(); err != nil { // the old generation is leaving: better so than not at all
					go in.post(trouble{EventPIDFileFailed, slog.LevelError,
						"the PID file names the old generation", err, nil})
				}
			}) {
				log.Warn("the disk of the PID file is slow: it names the old generation still", "path", path)
			}
		},
		release: func(m *message) { m.PIDFile = path },
		yield:   pidfile.LetGo,
		end: func(how ending) {
			if how == replaced { // it is the new generation's, which is about to write it
				return
			}
			if err := file.Remove(pid); err != nil {
				in.post(trouble{EventPIDFileFailed, slog.LevelWarn, "PID file", err, nil})
			}
			pidfile.LetGo()
		},
	}
}
