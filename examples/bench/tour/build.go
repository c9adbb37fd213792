//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	module = "github.com/baton-go/baton/examples/"
	broken = "internal/faulty" // takes the flags of gin
)

// edition is one build of a service: the version it calls itself by, and the fault that it was built with.
type edition struct{ pkg, version, fault string }

var (
	ours1    = edition{"gin", "1.0", ""}
	ours2    = edition{"gin", "1.1", ""}
	crashing = edition{broken, "1.2-crash", "crash"}
	onTrial  = edition{broken, "1.2-probation", "probation"}
	hanging  = edition{broken, "1.2-hang", "hang"}
	rival1   = edition{"bench/tour/rival", "1.0", ""}
	rival2   = edition{"bench/tour/rival", "1.1", ""}
)

func (e edition) file(dir string) string {
	return filepath.Join(dir, strings.ReplaceAll(e.pkg, "/", "-")+"-"+e.version)
}

// build builds an edition into dir. The parts that editions have in common are compiled once. go run keeps what it
// links in the build cache, which go build does not: the next tour wants the same.
func (e edition) build(ctx context.Context, dir string, race bool) error {
	flags := "-s -w -X main.version=" + e.version + " -X main.fault=" + e.fault
	args := []string{"run", "-exec", "cp", "-ldflags", flags}
	if race {
		args = append(args, "-race")
	}
	out, err := exec.CommandContext(ctx, "go", append(args, module+e.pkg, e.file(dir))...).CombinedOutput()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("go build %s: %w\n%s", e.pkg, err, out)
	}
	return err
}

// install puts an edition in the place of the running one, as a deployment does: a new file, renamed over the old.
func (e edition) install(dir, target string) error {
	from, err := os.Open(e.file(dir))
	if err != nil {
		return err
	}
	defer from.Close()
	next := target + ".next"
	to, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(next, target)
}
