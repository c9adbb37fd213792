package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// help is a cache of what is on disk, warm before the first request: an owner without state. A new generation that
// filled it before Run would go on with old texts, since the old one still puts new ones on disk.
type help struct {
	dir   string
	texts sync.Map // by metric
}

// Acquire warms the cache.
func (h *help) Acquire(context.Context, io.Reader) error {
	files, err := os.ReadDir(h.dir)
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(h.dir, f.Name()))
		if err != nil {
			return err
		}
		h.texts.Store(f.Name(), string(b))
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Mkdir(h.dir, 0o755)
	}
	return err
}

// Release has nothing to give: all is on disk.
func (h *help) Release(context.Context, io.Writer) error { return nil }

func (h *help) of(metric string) string {
	text, _ := h.texts.Load(metric)
	s, _ := text.(string)
	return s
}

func (h *help) put(metric, text string) error {
	err := save(filepath.Join(h.dir, metric), func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err == nil {
		h.texts.Store(metric, text)
	}
	return err
}

// save puts a file in place that is whole, also after a crash: what is there stays until the new one is on disk.
func save(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // of no use after an error, gone after the rename
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
