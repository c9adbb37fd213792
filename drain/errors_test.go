package drain

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"testing"
)

// TestErrorsCrossTheControlSocket: what an error is goes along, by names that stay.
func TestErrorsCrossTheControlSocket(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(regexp.MustCompile(`(?m)^\tErr\w+ += `).FindAll(source, -1)); n != len(errorNames) {
		t.Errorf("%d errors, %d of them with a name on the socket", n, len(errorNames))
	}
	same := func(err, got error) {
		t.Helper()
		if got.Error() != err.Error() || errors.As(got, new(*RefusedError)) != errors.As(err, new(*RefusedError)) {
			t.Errorf("%#v has become %#v", err, got)
		}
		for _, n := range errorNames {
			if errors.Is(got, n.is) != errors.Is(err, n.is) {
				t.Errorf("%q is %s: %v, sent %v", err, n.name, errors.Is(got, n.is), errors.Is(err, n.is))
			}
		}
	}
	pass := func(err error) error {
		return errorOf(err.Error(), namesOf(err), errors.As(err, new(*RefusedError)))
	}
	for _, n := range errorNames {
		for _, err := range []error{
			n.is, akin(errors.New("why"), n.is), refused("why", n.is),
			fmt.Errorf("drain: hand over: %w", refused("why", n.is)),
			errors.Join(errors.New("why"), akin(errors.New("and"), n.is)), akin(ErrStopped, n.is, ErrDraining),
		} {
			same(err, pass(err))
		}
	}
	same(errors.New("other"), pass(errors.New("other")))
	same(refused("why"), errorOf("why", "", true)) // of a version that says no names
	same(akin(errors.New("why"), ErrStopped), errorOf("why", "what-is-to-come,stopped", false))
	got := namesOf(akin(errors.New("why"), ErrStopped, ErrDraining, ErrNotSupported))
	if got != "draining, stopped, unsupported" {
		t.Errorf("the names are %q", got)
	}
}
