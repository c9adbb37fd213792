//go:build unix

package main

import (
	"encoding/xml"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// No two texts overlap, and no mark's line goes through a text.
func TestLayOut(t *testing.T) {
	for range 200 {
		labels := make([]label, rand.N(60))
		for i := range labels {
			labels[i] = label{x: rand.Float64() * 1000, width: 10 + rand.Float64()*100}
		}
		rows := layOut(labels)
		for i, a := range labels {
			if a.row < 0 || a.row >= rows {
				t.Fatalf("row %d of %d", a.row, rows)
			}
			for _, b := range labels[i+1:] {
				if a.row == b.row && a.x < b.x+b.width && b.x < a.x+a.width {
					t.Fatalf("%+v and %+v overlap", a, b)
				}
				if b.row > a.row && b.x > a.x && b.x < a.x+a.width {
					t.Fatalf("the line of %+v goes through %+v", b, a)
				}
				if a.row > b.row && a.x > b.x && a.x < b.x+b.width {
					t.Fatalf("the line of %+v goes through %+v", a, b)
				}
			}
		}
	}
}

func TestLogScale(t *testing.T) {
	s := logScaleOf([][]bucket{{{P50: 300 * time.Microsecond, Max: 2 * time.Second}, {}}}, 100)
	if s.lo != 100*time.Microsecond || s.hi != 10*time.Second {
		t.Errorf("from %v to %v", s.lo, s.hi)
	}
	if top, bottom := s.y(s.hi), s.y(s.lo); top != 0 || bottom != 100 {
		t.Errorf("top %v, bottom %v", top, bottom)
	}
	if n := len(s.decades()); n != 6 {
		t.Errorf("%d decades", n)
	}
}

func TestBuckets(t *testing.T) {
	s := testSide()
	s.stats.recorders[0].records[3].outcome = reset
	bs := bucketsOf(evaluate(s))
	answers, failed := 0, 0
	for _, b := range bs {
		answers += b.answers()
		failed += b.Failed
	}
	if answers != 99 || failed != 1 || bs[0].Failed != 1 {
		t.Errorf("%d answers, %d failed: %+v", answers, failed, bs)
	}
	if bs[1].ByGen[1] != 10 || bs[8].ByGen[2] != 10 {
		t.Errorf("%+v", bs)
	}
}

// The page needs nothing but itself, and its drawings are well formed.
func TestPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.html")
	s := testSide()
	s.mark(5*time.Millisecond, true, "swap failed: <b>&")
	s.stats.recorders[0].records[30].outcome = eof
	s.broke = io.EOF
	if err := writeHTML(file, []*result{evaluate(s)}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	if m := regexp.MustCompile(`(?i)(src|href)=|url\(|@import|https?://`).FindString(page); m != "" {
		t.Errorf("the page reaches out: %s", m)
	}
	if !strings.Contains(page, "something was lost") {
		t.Error("the page does not tell of the loss")
	}
	i, j := strings.Index(page, "<svg"), strings.LastIndex(page, "</svg>")
	if i < 0 || j < i {
		t.Fatal("no drawing")
	}
	for d := xml.NewDecoder(strings.NewReader(page[i : j+6])); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
