package drainflag

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Parse parses args, which are os.Args[1:] as a rule, and then takes the flags that are not among
// them from the environment: -pull-max from PREFIX_PULL_MAX where prefix is "PREFIX_". The prefix
// "" stands for no environment. An error names the flag or the variable, and what it wants. It is
// handled as the FlagSet handles its own errors: with flag.ExitOnError, as flag.CommandLine has it,
// the process exits with 2.
func (f *Flags) Parse(prefix string, args []string) error {
	if err := f.set.Parse(args); err != nil {
		return err
	}
	if prefix == "" {
		return nil
	}
	err := f.environment(prefix)
	if err != nil {
		_, _ = fmt.Fprintln(f.set.Output(), err)
		switch f.set.ErrorHandling() {
		case flag.ExitOnError:
			os.Exit(2)
		case flag.PanicOnError:
			panic(err)
		}
	}
	return err
}

// environment leaves -s out: that is no setting, and a service with it in its environment would not start.
func (f *Flags) environment(prefix string) (err error) {
	given := map[string]bool{"s": true}
	f.set.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	f.set.VisitAll(func(fl *flag.Flag) {
		name := prefix + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		text := os.Getenv(name)
		if text == "" || given[fl.Name] || err != nil {
			return
		}
		if bad := f.set.Set(fl.Name, text); bad != nil {
			err = fmt.Errorf("%s is %q, and -%s cannot be that: %s", name, text, fl.Name, cure(fl, bad))
			return
		}
		f.from[fl.Name] = name
	})
	return err
}

// cure says what a flag wants, where package flag says "parse error".
func cure(fl *flag.Flag, err error) string {
	if g, ok := fl.Value.(flag.Getter); ok && err.Error() == "parse error" {
		switch g.Get().(type) {
		case bool:
			return "want " + wantBool
		case time.Duration:
			return "want " + wantDuration
		case int, int64, uint, uint64:
			return "want " + wantNumber
		case float64:
			return "want a number, such as 0.5"
		}
	}
	return err.Error()
}

// fields matches what may be the name of a field of a Config.
var fields = regexp.MustCompile(`(^|[\s("])(?:(Config)\.)?([A-Z]\w+)\b`)

// Explain returns err with a text that names flags, and the variables that they come from: the
// library names fields of its Config. The error wraps err. Nil is nil.
func (f *Flags) Explain(err error) error {
	if err == nil {
		return nil
	}
	text := fields.ReplaceAllStringFunc(err.Error(), func(s string) string {
		m := fields.FindStringSubmatch(s)
		name, ok := f.names[m[3]]
		if !ok || m[2] == "" && !twoWords(m[3]) {
			return s
		}
		return m[1] + "-" + name
	})
	f.set.VisitAll(func(fl *flag.Flag) {
		variable, ok := f.from[fl.Name]
		if ok && regexp.MustCompile(`(^|[\s("])-`+regexp.QuoteMeta(fl.Name)+`($|[^\w-])`).MatchString(text) {
			text += fmt.Sprintf(" (-%s is from %s)", fl.Name, variable)
		}
	})
	return &explained{text, err}
}

// twoWords tells PullMax, which is no English, from Failures, which may be meant as such.
func twoWords(name string) bool {
	return strings.IndexFunc(name[1:], unicode.IsUpper) >= 0
}

type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }
