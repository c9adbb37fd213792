package drain

import (
	"log/slog"
	"time"

	"github.com/baton-go/baton/drain/internal/machine"
)

// do does what the machine says. What an effect is, package machine says.
func (r *runner) do(effect machine.Effect) {
	switch e := effect.(type) {
	case machine.Tell:
		r.tellIn(Phase(e.Phase), EventKind(e.Kind), e.Level, e.Message, e.Err)
	case machine.Log:
		r.lines.log(e)
	case machine.Heard:
		r.lines.heard = &e
	case machine.Refuse:
		r.refuse(e)

	case machine.CallReady:
		r.callReady()
	case machine.Probe:
		r.probe(e.Hasten)
	case machine.EndProbation:
		if r.endWait != nil {
			r.endWait()
		}
	case machine.Prepare:
		r.prepare()
	case machine.SayReady:
		r.sayReady()
	case machine.SayReadyAlone:
		_ = r.os.ready() // to a program that uses tableflip alone
	case machine.Acquire:
		r.acquire()
	case machine.TakeOver:
		r.takeOver(e)
	case machine.Inherit:
		r.parts.inherit(*r.word)
	case machine.SayFailed:
		r.others.parent.send(message{Kind: kindFailed, Reason: cut(e.Reason)})
	case machine.Die:
		r.dieBy = e.Signal

	case machine.BeginSwap:
		r.beginSwap(e.Attempt)
	case machine.GiveUp:
		r.swap.giveUp()
	case machine.Announce:
		r.swap.settled = make(chan struct{})
		go r.swap.announce(r.inbox, r.manager, r.set, r.estate, r.cfg.Logger)
	case machine.Promote:
		r.promote(e)
	case machine.LetGo:
		r.letGo()
	case machine.PassOn:
		r.swap.passOn(e.Pending, r.signals.copies)
	case machine.Forward:
		r.swap.forward(e.Verb, e.By, r.signals.copies)
	case machine.AskToLeave:
		r.askToLeave(e.Why)
	case machine.Kill:
		r.swap.child.Kill()
	case machine.TakeBack:
		r.takeBack(e.Released)
	case machine.ResumeReads:
		r.set.ResumeReads()
	case machine.SwapFailed:
		r.swapFailed(e)

	case machine.BeginPull:
		r.pull = beginPull(r.ctx, r.health, r.inbox)
	case machine.DropVisitors:
		r.health.DropVisitors()
	case machine.EndPull:
		r.pull.end()
		r.pull = nil
	case machine.CallJoin:
		r.hooks.join()
	case machine.CallLeave:
		r.pull.left, r.pull.leaveBy = r.hooks.leave(), time.Now().Add(r.cfg.PullMax)
	case machine.AwaitBalancers:
		go r.pull.awaitBalancers(r.inbox)
	case machine.Drain:
		r.beginDrain(e.Replaced)
	case machine.Hurry:
		r.hurry(e.Drained)
	case machine.EndWork:
		go func() {
			<-r.work.Finish()
			r.post(machine.Drained{})
		}()
	case machine.AwaitOlder:
		r.tell(EventOlderAwaited, slog.LevelInfo, "waiting for older generations", nil, "older", r.others.names())
	case machine.Linger:
		r.after(e.For, machine.LingerOver{})
	case machine.CutOff:
		r.cutOff(e)
	case machine.CutOffNow:
		r.enqueue(machine.CutOffDone{Err: r.cutError()})
	case machine.CallGone:
		r.callGone(e.Hook)
	case machine.Finish:
		r.finish(e)
	}
}

// enqueue makes e what is heeded next.
func (r *runner) enqueue(e machine.Event) { r.queue = append(r.queue, e) }
