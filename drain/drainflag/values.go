package drainflag

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/baton-go/baton/drain"
)

// value is a flag.Value whose errors say what is wanted. Those of package flag say "parse error".
type value[T any] struct {
	at    *T
	parse func(string) (T, bool)
	want  string
}

func (v value[T]) Set(s string) error {
	t, ok := v.parse(s)
	if !ok {
		return errors.New("want " + v.want)
	}
	*v.at = t
	return nil
}

// Get makes it a flag.Getter.
func (v value[T]) Get() any {
	var t T
	if v.at != nil { // package flag asks a zero value how it looks
		t = *v.at
	}
	return t
}

func (v value[T]) String() string { return fmt.Sprint(v.Get()) }

// IsBoolFlag lets -keep-pull be -keep-pull=true.
func (v value[T]) IsBoolFlag() bool {
	_, is := v.Get().(bool)
	return is
}

const (
	wantNumber   = "a whole number, such as 3"
	wantDuration = "a number with its unit, such as 500ms, 30s or 1m30s"
	wantBool     = "true or false"
	wantKeeper   = "auto, always or never"
	wantNetworks = "networks or addresses with commas between them, such as 10.0.0.0/8,192.168.1.7"
)

func text(p *string, def string) flag.Value {
	*p = cmp.Or(*p, def)
	return value[string]{p, func(s string) (string, bool) { return s, true }, ""}
}

func number(p *int, def int) flag.Value {
	*p = cmp.Or(*p, def)
	return value[int]{p, func(s string) (int, bool) {
		n, err := strconv.Atoi(s)
		return n, err == nil
	}, wantNumber}
}

func yes(p *bool) flag.Value {
	return value[bool]{p, func(s string) (bool, bool) {
		b, err := strconv.ParseBool(s)
		return b, err == nil
	}, wantBool}
}

func keeper(p *drain.KeeperMode) flag.Value {
	return value[drain.KeeperMode]{p, func(s string) (drain.KeeperMode, bool) {
		for _, m := range []drain.KeeperMode{drain.KeeperAuto, drain.KeeperAlways, drain.KeeperNever} {
			if m.String() == s {
				return m, true
			}
		}
		return 0, false
	}, wantKeeper}
}

func duration(p *time.Duration, def time.Duration) flag.Value {
	*p = cmp.Or(*p, def)
	return value[time.Duration]{p, func(s string) (time.Duration, bool) {
		d, err := time.ParseDuration(s)
		return d, err == nil
	}, wantDuration}
}

// networks are shown as they are written.
type networks []netip.Prefix

func (n networks) String() string {
	all := make([]string, len(n))
	for i, p := range n {
		all[i] = p.String()
	}
	return strings.Join(all, ",")
}

func networksOf(p *[]netip.Prefix) flag.Value {
	return value[networks]{(*networks)(p), func(s string) (n networks, ok bool) {
		for s := range strings.SplitSeq(s, ",") {
			s = strings.TrimSpace(s)
			p, err := netip.ParsePrefix(s)
			if err != nil {
				a, err := netip.ParseAddr(s)
				if err != nil {
					return nil, false
				}
				p = netip.PrefixFrom(a, a.BitLen())
			}
			n = append(n, p)
		}
		return n, true
	}, wantNetworks}
}
