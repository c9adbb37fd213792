package later

import (
	"log/slog"
	"os"
	"time"
)

// Explain gives an error the words of those who have set what it is about, such as flags; nil: they are right. It is
// set before anything is logged.
var Explain func(error) error

// readable makes a value one that reads the same in all formats: slog's JSON has durations in nanoseconds, and a signal
// prints itself in lower case ("hangup") or as a number.
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
