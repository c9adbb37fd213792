package later

import (
	"log/slog"
	"os"
	"time"
)

// Explain names the settings in an error as the program has them, such as by flags; nil: the error stays as it is. It
// is set before anything is logged.
var Explain func(error) error

// readable makes a value read the same in all formats. Else slog's JSON has durations in nanoseconds, and signals in
// lower case ("hangup") or as a number.
func readable(a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case time.Duration:
		a.Value = slog.StringValue(span(v))
	case os.Signal:
		a.Value = slog.StringValue(SignalName(v))
	case error:
		if Explain != nil {
			a.Value = slog.AnyValue(Explain(v))
		}
	}
	return a
}

// span is a duration as people read it, with three digits.
func span(d time.Duration) string {
	unit := time.Nanosecond
	for d.Abs()/1000 >= unit { // not 1000*unit, which overflows
		unit *= 10
	}
	return d.Round(unit).String()
}
