package tlsmove

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// holds tells whether what v leads to, within this package's types, has the secret in memory. What Go itself has of a
// connection, crypto/tls and the tables of a cipher, nobody can overwrite.
func holds(v reflect.Value, secret []byte, seen map[unsafe.Pointer]bool) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || v.Kind() == reflect.Pointer && seen[v.UnsafePointer()] {
			return false
		}
		if v.Kind() == reflect.Pointer {
			seen[v.UnsafePointer()] = true
		}
		return holds(v.Elem(), secret, seen)
	case reflect.Struct:
		if path := v.Type().PkgPath(); path != reflect.TypeFor[State]().PkgPath() {
			return false
		}
		for i := range v.NumField() {
			if holds(v.Field(i), secret, seen) {
				return true
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Cap() > 0 {
			return bytes.Contains(unsafe.Slice((*byte)(v.UnsafePointer()), v.Cap()), secret)
		}
	case reflect.Array:
		for i := range v.Len() {
			if v.Type().Elem().Kind() == reflect.Uint8 {
				b := make([]byte, v.Len())
				for j := range b {
					b[j] = byte(v.Index(j).Uint())
				}
				return bytes.Contains(b, secret)
			}
			if holds(v.Index(i), secret, seen) {
				return true
			}
		}
	}
	return false
}

// A line of the key log that nobody else reads is overwritten.
func TestKeyLogIsOverwritten(t *testing.T) {
	line := []byte("CLIENT_TRAFFIC_SECRET_0 " + strings.Repeat("00", randomLen) + " " + strings.Repeat("ab", 32) + "\n")
	l := new(keyLog)
	if n, err := l.Write(line); n != len(line) || err != nil || l.secrets[0].n != 32 {
		t.Errorf("%d, %v, %d bytes of a secret", n, err, l.secrets[0].n)
	}
	if bytes.Contains(line, []byte("ab")) {
		t.Errorf("%q is left", line)
	}
}

// A connection that is over, here or because it has been moved, leaves no secret in what this package has of it.
func TestSecretsAreOverwritten(t *testing.T) {
	for _, k := range kinds {
		if !k.moves {
			continue
		}
		t.Run(k.String(), func(t *testing.T) {
			c, s := shake(t, k.client(), k.server())
			exchange(t, c, s, 1)
			secrets := [][]byte{bytes.Clone(s.tap.secrets[0].b[:s.tap.secrets[0].n])}
			form := must[[]byte](t)(s.Export())
			if cap(form) != MaxState {
				t.Errorf("the form has grown to %d bytes", cap(form))
			}
			state := must[*State](t)(ParseState(form))
			secrets = append(secrets, bytes.Clone(state.In.Secret), bytes.Clone(state.Out.Secret))
			in, out := state.In.Secret, state.Out.Secret
			m := must[*Conn](t)(Adopt(below(s), state))
			exchange(t, c, m, 50_000)
			held := func(what any) (n int) {
				for _, secret := range secrets {
					if holds(reflect.ValueOf(what), secret, make(map[unsafe.Pointer]bool)) {
						n++
					}
				}
				return n
			}
			if held(s) == 0 || held(m) == 0 {
				t.Fatal("the search finds nothing in an open connection")
			}
			inM, outM := m.in.Secret, m.out.Secret
			read := make(chan error, 1)
			go func() { _, err := m.Read(make([]byte, 1)); read <- err }() // as net/http waits for a request
			_ = m.Close()
			<-read
			_ = s.Close()
			for name, what := range map[string]any{"who shook hands": s, "who has taken it": m, "the state": state,
				"the state's": &State{In: Half{Secret: in}, Out: Half{Secret: out}},
				"its own":     &State{In: Half{Secret: inM}, Out: Half{Secret: outM}}} {
				if held(what) > 0 {
					t.Errorf("%s still holds a secret", name)
				}
			}
		})
	}
}
