package drain

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-go/baton/health"
)

// frozenFile lists what one version of the library says to another: over their link, in the environment, by
// the names of the files that are passed on, and in a service manager's store.
const frozenFile = "testdata/frozen.txt"

// TestWhatVersionsSayToEachOtherIsFrozen: every upgrade and every rollback of the library is a swap between
// two versions.
func TestWhatVersionsSayToEachOtherIsFrozen(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(frozenFile)
	if err != nil {
		t.Fatal(err)
	}
	frozen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			frozen[line] = true
		}
	}
	said := map[string]bool{}
	add := func(format string, args ...any) { said[fmt.Sprintf(format, args...)] = true }
	fieldsOf(reflect.TypeFor[message](), "message", add)
	fieldsOf(reflect.TypeFor[[]Peer](), "message.parts."+comingPart, add)
	fieldsOf(reflect.TypeFor[[]Record](), "message.parts.history", add)
	fieldsOf(reflect.TypeFor[SwapResult](), "message.parts.last_swap", add)
	fieldsOfLedger(t, add)
	sources(t, add)
	for _, line := range slices.Sorted(maps.Keys(frozen)) {
		if !said[line] {
			t.Errorf("%q has gone or changed, and the version before says it, or waits for it, in a swap "+
				"with this one. Keep it, and say what is new under a new name, to a peer whose hello "+
				"tells that it knows that name.", line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(said)) {
		if !frozen[line] {
			t.Errorf("%q is new: the version before ignores it. If a swap to that one and back does without "+
				"it (go test -run TwoVersions ./drain), add this line to drain/%s; from then on it stays.",
				line, frozenFile)
		}
	}
}

// fieldsOf tells the names in the JSON of a type, and what stands there.
func fieldsOf(t reflect.Type, path string, add func(string, ...any)) {
	switch {
	case t == reflect.TypeFor[time.Time]():
		add("field %s: time", path)
	case t.Kind() == reflect.Pointer:
		fieldsOf(t.Elem(), path, add)
	case t == reflect.TypeFor[json.RawMessage]():
		add("field %s: any", path)
	case t == reflect.TypeFor[[]byte]():
		add("field %s: base64", path)
	case t.Kind() == reflect.Slice:
		fieldsOf(t.Elem(), path+"[]", add)
	case t.Kind() == reflect.Map:
		fieldsOf(t.Elem(), path+"{}", add)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case tag == "-" || !f.IsExported():
			case f.Anonymous && tag == "":
				fieldsOf(f.Type, path, add)
			default:
				fieldsOf(f.Type, path+"."+tag, add)
			}
		}
	case t.Kind() == reflect.String || t.Kind() == reflect.Bool:
		add("field %s: %s", path, t.Kind())
	default:
		add("field %s: number", path)
	}
}

// fieldsOfLedger tells those of the ledger of probers, which goes along as it is.
func fieldsOfLedger(t *testing.T, add func(string, ...any)) {
	h, err := health.New(health.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/ping", nil)
	r.Header.Set("X-Forwarded-For", "127.0.0.1")
	for range 2 {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	h.Watched("127.0.0.1:1", "agent")
	var ledger any
	if err := json.Unmarshal(h.Export(), &ledger); err != nil {
		t.Fatal(err)
	}
	var walk func(v any, path string)
	walk = func(v any, path string) {
		switch v := v.(type) {
		case map[string]any:
			for name, v := range v {
				walk(v, path+"."+name)
			}
		case []any:
			for _, v := range v {
				walk(v, path+"[]")
			}
			if len(v) == 0 {
				add("field %s: list", path)
			}
		case float64:
			add("field %s: number", path)
		default:
			add("field %s: %T", path, v)
		}
	}
	walk(ledger, "ledger")
}

// ours is in each string by which one process of the service knows another, or something of another's.
var ours = regexp.MustCompile(`(?i)^@?baton[^a-z]|^X_BATON|^TABLEFLIP|^, `)

// sources finds strings where they are written, so that a new one is found too.
func sources(t *testing.T, add func(string, ...any)) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "examples" || len(d.Name()) > 2 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				of, _ := v.Type.(*ast.Ident)
				for _, value := range v.Values {
					lit, ok := value.(*ast.BasicLit)
					if !ok || lit.Kind != token.STRING {
						continue
					}
					text, err := strconv.Unquote(lit.Value)
					switch {
					case err != nil:
						return err
					case of != nil && (slices.Contains([]string{"kind", "Phase", "ability"}, of.Name) &&
						filepath.Base(filepath.Dir(path)) == "drain" || of.Name == "Verb"):
						add("%s %s", strings.ToLower(of.Name), text)
					case of == nil && ours.MatchString(text):
						add("name %q", text)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
