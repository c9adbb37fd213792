package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// pushes is state in memory: an owner that carries it from generation to generation.
type pushes struct {
	file string

	mu   sync.RWMutex
	sums map[string]map[string]float64 // by metric and group
}

// Acquire takes what the generation before has written. There is none at the first start, and after one that was
// killed: what was saved at the last stop is then the latest that there is.
func (p *pushes) Acquire(_ context.Context, r io.Reader) error {
	begun, from := time.Now(), "the old generation"
	if r == nil {
		from = p.file
		f, err := os.Open(p.file)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = os.Open(os.DevNull)
		}
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	sums := map[string]map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		metric, rest, ok := strings.Cut(lines.Text(), `{group="`)
		group, text, ok2 := strings.Cut(rest, `"} `)
		v, err := strconv.ParseFloat(text, 64)
		if !ok || !ok2 || err != nil {
			return fmt.Errorf("%s: no pushes: %q", from, lines.Text())
		}
		add(sums, metric, strings.Clone(group), v) // it would keep its whole line
	}
	if err := lines.Err(); err != nil {
		return err // the old generation serves on, with what it has
	}
	p.sums = sums
	slog.Info("acquired", "owner", "pushes", "from", from, "metrics", len(sums), "took", time.Since(begun))
	return nil
}

// Release writes them for the next generation, or into the file where none follows. There is no lock, nor need there be
// one: no handler runs any more.
func (p *pushes) Release(_ context.Context, w io.Writer) error {
	begun := time.Now()
	var err error
	if w != nil {
		err = p.write(w)
	} else {
		err = save(p.file, p.write)
	}
	if err != nil {
		return err // this generation serves on, with what it has
	}
	slog.Info("released", "owner", "pushes", "metrics", len(p.sums), "took", time.Since(begun))
	p.sums = nil // it is another's
	return nil
}

// write is the text format of Prometheus. The next generation reads it too: of the program's next version, so it is a
// format that both know.
func (p *pushes) write(w io.Writer) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	b := bufio.NewWriterSize(w, 64<<10)
	for metric, groups := range p.sums {
		for group, v := range groups {
			line := append(append(b.AvailableBuffer(), metric...), `{group="`...)
			line = append(append(line, group...), `"} `...)
			_, _ = b.Write(append(strconv.AppendFloat(line, v, 'g', -1, 64), '\n')) // Flush has its error
		}
	}
	return b.Flush()
}

func (p *pushes) push(group, body string, instead bool) error {
	pushed := map[string]map[string]float64{}
	for line := range strings.Lines(body) {
		metric, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || !names.MatchString(metric) {
			return fmt.Errorf("%q: want a name and a number", line)
		}
		add(pushed, metric, group, v)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, groups := range p.sums {
		if instead {
			delete(groups, group)
		}
	}
	for metric, groups := range pushed {
		add(p.sums, metric, group, groups[group])
	}
	return nil
}

func add(sums map[string]map[string]float64, metric, group string, v float64) {
	if sums[metric] == nil {
		sums[metric] = map[string]float64{}
	}
	sums[metric][group] += v
}
