package drain

import (
	"log/slog"
	"time"

	"github.com/baton-go/baton/drain/internal/probeport"
)

// listParts is what exactly one generation owns, in the order in which a new one gets it.
func (r *runner) listParts() parts {
	warn := func(kind EventKind, message string, err error) { r.tell(kind, slog.LevelWarn, message, err) }
	ports := probeport.New(r.cfg.HeartbeatAddress, r.cfg.AgentAddress, r.health)
	return parts{
		r.os.scorePart(r.cfg.Logger),
		probersPart(r.health, warn),
		r.others.part(r.bequest, func(e *elder) { go r.post(elderGone{e}) }),
		{release: r.signals.release, inherit: r.signals.inherit}, // before the keeper hears of this generation
		r.manager.part(),
		ticketsPart(r.tickets, r.cfg.Logger),
		{acquire: r.set.Open},
		pidFilePart(r.cfg.PIDFile, r.os.pid, !r.os.inherits, r.inbox, r.cfg.Logger),
		{acquire: r.work.Begin},
		r.control.part(r.os),
		portsPart(r.ctx, ports, r.os, r.cfg.KeepPull, r.inbox),
		r.os.part(),
		storePart(r.set, !r.os.inherits, r.inbox),
		r.hooks.part(r.health.Pulled),
		r.history.part(r.state.Generation, r.cfg.Version),
	}
}

// bequest is this generation as the next one is to see it.
func (r *runner) bequest() (Peer, int64) {
	p := r.peer()
	p.Phase, p.Since = Draining, time.Now().Round(0)
	p.Deadline = p.Since.Add(r.cfg.DrainTimeout)
	return p, r.emitter.dropped()
}
