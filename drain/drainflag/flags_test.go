package drainflag

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/drain"
)

// parse parses args with the flags of cfg and two of a program's own.
func parse(cfg *drain.Config, args ...string) (*Flags, error) {
	fs := flag.NewFlagSet("app", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Duration("work", 0, "")
	fs.Var(new(list), "also", "")
	f := Add(fs, cfg)
	return f, f.Parse("APP_", args)
}

// list is a flag that may be there more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, "+") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// TestEveryFieldHasAFlag: a field that is added to Config gets a flag, or is one that only a program can set.
func TestEveryFieldHasAFlag(t *testing.T) {
	example := map[string][2]string{ // by type: what is given, how it is shown
		"string": {"x", "x"}, "int": {"7", "7"}, "bool": {"true", "true"}, "time.Duration": {"7s", "7s"},
		"[]netip.Prefix": {"10.0.0.0/8,::1", "[10.0.0.0/8 ::1/128]"}, "drain.KeeperMode": {"never", "never"},
	}
	var cfg drain.Config
	f, err := parse(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(&cfg).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if k := field.Type.Kind(); k == reflect.Func || k == reflect.Pointer || field.Name == "Version" {
			continue
		}
		name, ok := f.names[field.Name]
		if !ok {
			t.Errorf("Config.%s has no flag: add it to settings", field.Name)
			continue
		}
		give := example[field.Type.String()]
		if err := f.set.Set(name, give[0]); err != nil || fmt.Sprint(v.Field(i)) != give[1] {
			t.Errorf("-%s %s: %v; Config.%s is %v", name, give[0], err, field.Name, v.Field(i))
		}
		if !strings.Contains(docs(t), "-"+name) {
			t.Errorf("doc.go does not list -%s", name)
		}
	}
}

// TestDefaultsAreTheLibrarys: the errors of New say what its defaults are.
func TestDefaultsAreTheLibrarys(t *testing.T) {
	var cfg drain.Config
	if _, err := parse(&cfg); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		wrong drain.Config
		is    any
		want  string
	}{
		{drain.Config{Probation: -1}, cfg.Probation, "0 for the default (%v)"},
		{drain.Config{SwapTimeout: -1}, cfg.SwapTimeout, "0 for the default (%v)"},
		{drain.Config{PauseMax: -1}, cfg.PauseMax, "0 for the default (%v)"},
		{drain.Config{DrainTimeout: -1}, cfg.DrainTimeout, "0 for the default (%v)"},
		{drain.Config{PullMin: -1}, cfg.PullMin, "0 for the default (%v)"},
		{drain.Config{PullMax: -1}, cfg.PullMax, "0 for the default (%v)"},
		{drain.Config{MaxGenerations: -1}, cfg.MaxGenerations, "0 for the default (%v)"},
		{drain.Config{Failures: -1}, cfg.Failures, "0 for %v"},
		{drain.Config{PingStatus: -1}, cfg.PingStatus, "0 for %v"},
	} {
		_, err := drain.New(c.wrong)
		if want := fmt.Sprintf(c.want, c.is); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v; the flag's default wants %q", err, want)
		}
	}
	if cfg.IdleGrace != 0 || cfg.PingPath != "/ping" || cfg.LivePath != "/livez" {
		t.Errorf("IdleGrace %v, PingPath %q, LivePath %q", cfg.IdleGrace, cfg.PingPath, cfg.LivePath)
	}
}

func TestWhatCountsMore(t *testing.T) {
	for _, c := range []struct {
		env, args string
		set       time.Duration // by the program
		want      time.Duration
	}{
		{"", "", 0, 30 * time.Second},
		{"", "", time.Hour, time.Hour},
		{"2m", "", time.Hour, 2 * time.Minute},
		{"2m", "-drain-timeout 3m", time.Hour, 3 * time.Minute},
		{"", "--drain-timeout=3m", time.Hour, 3 * time.Minute},
		{"soon", "-drain-timeout 3m", 0, 3 * time.Minute}, // nobody uses the variable
	} {
		t.Setenv("APP_DRAIN_TIMEOUT", c.env)
		cfg := drain.Config{DrainTimeout: c.set}
		_, err := parse(&cfg, strings.Fields(c.args)...)
		if err != nil || cfg.DrainTimeout != c.want {
			t.Errorf("%+v: %v, %v", c, cfg.DrainTimeout, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	for name, text := range map[string]string{
		"APP_PIDFILE": "/run/app.pid", "APP_CONTROL": "/run/app.sock", "APP_MAX_GENERATIONS": "9",
		"APP_KEEP_PULL": "true", "APP_PROBERS": "10.1.0.0/16, 10.2.0.1", "APP_WORK": "5s", "APP_ALSO": "env",
		"APP_S": "stop", "APP_NO_FLAG": "x", "APP_FAILURES": "", "OTHER_FAILURES": "9",
	} {
		t.Setenv(name, text)
	}
	var cfg drain.Config
	f, err := parse(&cfg, "-also", "args")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(cfg.PIDFile, cfg.ControlSocket, cfg.MaxGenerations, cfg.KeepPull, cfg.Probers, cfg.Failures,
		f.set.Lookup("work").Value, f.set.Lookup("also").Value, "-"+f.command)
	want := "/run/app.pid /run/app.sock 9 true [10.1.0.0/16 10.2.0.1/32] 3 5s args -"
	if got != want+"\n" {
		t.Errorf("%s\nwant %s", got, want)
	}

	cfg = drain.Config{}
	if err := Add(flag.NewFlagSet("app", flag.ContinueOnError), &cfg).Parse("", nil); err != nil || cfg.PIDFile != "" {
		t.Errorf("without a prefix: %q, %v", cfg.PIDFile, err)
	}
}

// TestBadInput: the error names the flag or the variable, and what it wants.
func TestBadInput(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"pull-max", "soon", "want a number with its unit, such as 500ms"},
		{"probation", "1", "want a number with its unit"},
		{"work", "5", "want a number with its unit"}, // a flag of the program's
		{"failures", "three", "want a whole number"},
		{"max-generations", "2.5", "want a whole number"},
		{"keep-pull", "maybe", "want true or false"},
		{"keeper", "on", "want auto, always or never"},
		{"probers", "10.0.0.0/33", "want networks or addresses"},
		{"probers", "10.0.0.1,,10.0.0.2", "want networks or addresses"},
		{"probers", "balancer.local", "want networks or addresses"},
	} {
		variable := "APP_" + strings.ToUpper(strings.ReplaceAll(c.name, "-", "_"))
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, c.text)
			_, err := parse(new(drain.Config))
			want := fmt.Sprintf("%s is %q, and -%s cannot be that: %s", variable, c.text, c.name, c.want)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v\nwant %s", err, want)
			}
			t.Setenv(variable, "")
			_, err = parse(new(drain.Config), "-"+c.name+"="+c.text)
			if err == nil || !strings.Contains(err.Error(), "-"+c.name+":") ||
				c.name != "work" && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant -%s and %s", err, c.name, c.want)
			}
		})
	}
	if _, err := parse(new(drain.Config), "-help"); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-help: %v", err)
	}
}

// TestExplain: the errors of New name flags, and the variables that set them.
func TestExplain(t *testing.T) {
	for _, c := range []struct{ env, args, want string }{
		{"", "-probation -1s", "-probation is -1s: want 0 for the default"},
		{"APP_PROBATION=-1s", "", "(-probation is from APP_PROBATION)"},
		{"", "-swap-timeout 1s", "-swap-timeout (1s) must be longer than -probation (1s)"},
		{"APP_SWAP_TIMEOUT=1s", "", "(-swap-timeout is from APP_SWAP_TIMEOUT)"},
		{"", "-max-generations 1", "-max-generations is 1: want"},
		{"APP_PULL_MIN=1m", "", "-pull-min is 1m0s, longer than -pull-max, which is 30s: raise -pull-max or lower " +
			"-pull-min (-pull-min is from APP_PULL_MIN)"},
		{"", "-failures -2", "-failures is -2: use 1 or more"},
		{"", "-ping-status 200", "-ping-status is 200, which does not tell"},
		{"", "-ping-path ping", `-ping-path is "ping": want a path`},
		{"", "-live-path livez", `-live-path is "livez": want a path`},
		{"", "-heartbeat nowhere", "-heartbeat"},
		{"APP_AGENT=nowhere", "", "(-agent is from APP_AGENT)"},
	} {
		name, text, _ := strings.Cut(c.env, "=")
		t.Run(name+c.args, func(t *testing.T) {
			if name != "" {
				t.Setenv(name, text)
			}
			var cfg drain.Config
			f, err := parse(&cfg, strings.Fields(c.args)...)
			if err != nil {
				t.Fatal(err)
			}
			_, bad := drain.New(cfg)
			if err = f.Explain(bad); err == nil || !strings.Contains(err.Error(), c.want) ||
				strings.Contains(err.Error(), "Config.") || !errors.Is(err, bad) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
	f, _ := parse(new(drain.Config))
	if f.Explain(nil) != nil {
		t.Error("nil has become an error")
	}
	for _, same := range []string{
		"Ready for Config.Preflight", "3 Failures", "the Probation of app/PullMax", "open -control",
	} {
		if got := f.Explain(errors.New(same)).Error(); got != same {
			t.Errorf("%q has become %q", same, got)
		}
	}
}

func docs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
