//go:build unix

package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logbook reads what all processes of a service write to stderr.
type logbook struct {
	ended chan struct{} // closed when the last process has let go of its stderr

	mu    sync.Mutex
	lines []logLine
}

type logLine struct {
	at   time.Time
	text string
}

func newLogbook(name string, r *os.File, verbose bool) *logbook {
	l := &logbook{ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		defer r.Close()
		in := bufio.NewScanner(r)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			l.mu.Lock()
			l.lines = append(l.lines, logLine{time.Now(), in.Text()})
			l.mu.Unlock()
			if verbose {
				fmt.Printf("        | %s: %s\n", name, in.Text())
			}
		}
	}()
	return l
}

// find returns the first line after a moment that contains all the words.
func (l *logbook) find(after time.Time, words ...string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for _, line := range l.lines {
		if line.at.Before(after) {
			continue
		}
		for _, w := range words {
			if !strings.Contains(line.text, w) {
				continue next
			}
		}
		return line.text, true
	}
	return "", false
}

// tail returns the last lines, to be shown when something went wrong.
func (l *logbook) tail(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var texts []string
	for _, line := range l.lines[max(0, len(l.lines)-n):] {
		texts = append(texts, line.text)
	}
	return texts
}

// ledger is what the generations themselves say they have lost: the last lost=N that each of them logged.
func (l *logbook) ledger() map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := map[int]int{}
	for _, line := range l.lines {
		n, isCount := attrInt(line.text, "lost")
		pid, isOf := attrInt(line.text, "pid")
		if isCount && isOf {
			lost[pid] = n
		}
	}
	return lost
}

// attr returns the value of a slog attribute in a line of slog's text format.
func attr(line, key string) (string, bool) {
	m := regexp.MustCompile(`(?:^|\s)` + regexp.QuoteMeta(key) + `=("(?:[^"\\]|\\.)*"|\S*)`).FindStringSubmatch(line)
	if m == nil {
		return "", false
	}
	if s, err := strconv.Unquote(m[1]); err == nil {
		return s, true
	}
	return m[1], true
}

func attrInt(line, key string) (int, bool) {
	s, ok := attr(line, key)
	n, err := strconv.Atoi(s)
	return n, ok && err == nil
}
