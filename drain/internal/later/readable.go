package later

import (
	"log/slog"
	"os"
	"time"
)

// readable makes a value one that reads the same in all formats: slog's JSON has durations in nanoseconds, and a signal
// prints itself in lower case ("hangup") or as a number.
func readable(a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case time.Duration:
		a.Value = slog.StringValue(span(v))
	case os.Signal:
		a.Value = slog.StringValue(SignalName(v))
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
