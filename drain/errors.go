package drain

import (
	"errors"
	"strings"

	"github.com/baton-go/baton/drain/internal/machine"
)

// Errors that a program may want to tell apart, by errors.Is. Each error of a Service, a Client or
// Control that is of one of these kinds matches it, whatever its text is; it may match several.
var (
	// ErrDraining: this generation drains or has drained, because it was replaced or the service stops. Swap, Pull,
	// Restore, Lead and HandOver return it, and Go once nothing is left that could hand in work. It is also the cause
	// (context.Cause) of the contexts of Draining, Context, Go and Lead.
	ErrDraining = errors.New("drain: the service is draining")
	// ErrStopped: the service stops or has stopped, as far as this process goes. All methods that return errors may
	// return it. From a Client it also means that no service answers.
	ErrStopped = errors.New("drain: the service has stopped")
	// ErrNotReady: the service is not ready yet. Swap and Pull return it.
	ErrNotReady = errors.New("drain: the service is not ready")
	// ErrNotSupported is errors.ErrUnsupported: the platform, the kind of connection, or the starter of the process
	// does not allow it. New, Swap and HandOver return it.
	ErrNotSupported = errors.ErrUnsupported
	// ErrSwapFailed: a swap was begun and has failed, and the generation before serves on. Swap returns it; it wraps
	// the error of Config.Preflight.
	ErrSwapFailed = errors.New("drain: the swap has failed")
	// ErrRestored: the pull has ended before the balancers had noticed it. Pull returns it.
	ErrRestored = errors.New("drain: the pull has ended")
	// ErrCutOff: something was cut off, at Config.DrainTimeout, by a second signal, or because of
	// Config.MaxGenerations. Run and Stop return it.
	ErrCutOff = errors.New("drain: something was cut off")
)

// RefusedError says that a call was not tried, and has changed nothing. Swap, Pull, Restore, HandOver, Listen and Run
// return it at the wrong time, and HandOver also for a connection that the next generation does not take. It may match
// one of the errors above besides. The control socket answers it with 409, and other errors with 500.
type RefusedError struct{ kindred }

// kindred is an error that is one of those above, with a text of its own.
type kindred struct {
	text string
	is   []error
}

func (e *kindred) Error() string { return e.text }

// Unwrap returns what the error is besides.
func (e *kindred) Unwrap() []error { return e.is }

func refused(text string, is ...error) error { return &RefusedError{kindred{text, is}} }

// akin is err, which is one of those above too.
func akin(err error, is ...error) error {
	return &kindred{err.Error(), append([]error{err}, is...)}
}

// errorHeader has, in an answer of the control socket, the names of what an error is.
const errorHeader = "Baton-Error"

var errorNames = []struct {
	name string
	is   error
}{
	{"draining", ErrDraining}, {"stopped", ErrStopped}, {"not-ready", ErrNotReady}, {"unsupported", ErrNotSupported},
	{"swap-failed", ErrSwapFailed}, {"restored", ErrRestored}, {"cut-off", ErrCutOff},
}

// namesOf is what errorHeader says of err.
func namesOf(err error) string {
	var names []string
	for _, n := range errorNames {
		if errors.Is(err, n.is) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ", ")
}

// errorOf is the error with that text, of what errorHeader says. A name that a later version says is ignored.
func errorOf(text, header string, notTried bool) error {
	var is []error
	for name := range strings.SplitSeq(header, ",") {
		for _, n := range errorNames {
			if n.name == strings.TrimSpace(name) {
				is = append(is, n.is)
			}
		}
	}
	if notTried {
		return refused(text, is...)
	}
	return &kindred{text, is}
}

// leaving says which errors say that a generation takes nothing new; nil: it does.
func leaving(s *machine.State) (is []error) {
	if s.Stopping || s.Phase == machine.Stopped {
		is = append(is, ErrStopped)
	}
	if s.Phase.Ends() {
		is = append(is, ErrDraining)
	}
	return is
}
