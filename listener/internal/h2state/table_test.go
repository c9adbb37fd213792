package h2state

import (
	"bytes"
	"strings"
	"testing"
)

const (
	pathA     = "\x44\x01a"             // :path, by its static name, with incremental indexing
	custom    = "\x40\x03foo\x01b"      // a new name
	customC   = "\x40\x03foo\x01c"      // the same name, with another value
	customHuf = "\x40\x82\x94\xe7\x01b" // as custom, in Huffman's code
)

// What is kept fills a new decoder's table as the client has filled the old one.
func TestTable(t *testing.T) {
	long := strings.Repeat("v", 1000)
	big := "\x40\x01n\x7f\xe9\x06" + long // 1032 bytes in the table, with its name
	for name, test := range map[string]struct {
		blocks []string
		want   string
		lost   bool
	}{
		"nothing":                    {[]string{"\x82\x86\x84"}, "", false},
		"static name":                {[]string{"\x82" + pathA}, pathA, false},
		"new name":                   {[]string{custom + "\x82"}, custom, false},
		"in Huffman's code":          {[]string{customHuf}, customHuf, false},
		"name of an entry":           {[]string{custom + "\x7e\x01c"}, custom + customC, false},
		"name of an older entry":     {[]string{custom, pathA + "\x7f\x00\x01c"}, custom + pathA + customC, false},
		"static name of an entry":    {[]string{pathA, "\x7e\x01c"}, pathA + "\x44\x01c", false},
		"without indexing":           {[]string{"\x04\x01a\x00\x01n\x01v", "\x14\x01a\x10\x01n\x01v"}, "", false},
		"index of an entry":          {[]string{pathA, "\xbe"}, pathA, false},
		"no room any more":           {[]string{pathA, big, big, big, big}, big + big + big, false},
		"smaller":                    {[]string{pathA + custom, "\x3f\x0a" + custom}, custom, false},
		"empty, and as before":       {[]string{pathA, "\x20\x3f\xe1\x1f" + custom}, custom, false},
		"an entry too large for all": {[]string{pathA, "\x3f\x09" + custom, "\x20", custom}, "", false},
		"a name that nobody knows":   {[]string{"\x7e\x01c"}, "", true},
		"a string without end":       {[]string{"\x40\x03fo"}, "", true},
		"a number without end":       {[]string{"\x7f\xff\xff\xff\xff\xff\x01a"}, "", true},
		"larger than is followed":    {[]string{"\x3f\xff\xff\xff\x01"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(defaultSize, nil)
			for _, b := range test.blocks {
				table.Feed([]byte(b))
			}
			text, known := table.Text()
			if known == test.lost || known && string(text) != test.want {
				t.Errorf("%.60q, known %v, want %.60q, %v", text, known, test.want, !test.lost)
			}
		})
	}
}

// An entry that has another one's name has its length, too: or a client that repeats a long one would have it kept, and
// moved, for as many entries as would fit without.
func TestNamesOfEntriesTakeRoom(t *testing.T) {
	const most = defaultSize*longestCode/8 + defaultSize // bytes of text, for a table of that size
	for name, first := range map[string]string{
		"plain":             "\x40\x7f\xa1\x1e" + strings.Repeat("n", 4000) + "\x00",
		"in Huffman's code": "\x40\xff\x99\x74" + strings.Repeat("\xff", 15000) + "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(defaultSize, nil)
			table.Feed([]byte(first))
			for range 1000 {
				table.Feed([]byte("\x7e\x00")) // the name of the newest, and no value
				if text, known := table.Text(); !known || len(text) == 0 || len(text) > most {
					t.Fatalf("%d bytes, known %v; want %d at most", len(text), known, most)
				}
			}
		})
	}
}

// A table that is fed anything stays within bounds, and what it says gives the same table again.
func FuzzTable(f *testing.F) {
	f.Add([]byte(pathA+custom), []byte("\x7e\x01c\x20\x3f\xe1\x1f"+customHuf))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		table := newTable(defaultSize, nil)
		table.Feed(one)
		table.Feed(two)
		text, known := table.Text()
		if !known {
			return
		}
		if most := maxSize * longestCode / 8; len(text) > most {
			t.Fatalf("%d bytes", len(text))
		}
		again := newTable(table.max, text)
		if same, known := again.Text(); !known || !bytes.Equal(same, text) {
			t.Fatalf("%q becomes %q, known %v", text, same, known)
		}
	})
}

// A frame of fields that each drive one entry out, of a table as large as one may be: what that costs is what a client
// can cost.
func BenchmarkTableFull(b *testing.B) {
	table := newTable(maxSize, nil)
	field := "\x44\x00" // a static name, and no value
	table.Feed([]byte(strings.Repeat(field, maxSize/overhead)))
	frame := []byte(strings.Repeat(field, 16<<10/len(field)))
	for b.Loop() {
		table.Feed(frame)
	}
}
