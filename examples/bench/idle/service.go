//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain"
)

func service(ctx context.Context) error {
	svc, err := drain.New(drain.Config{ControlSocket: *socket, Probation: 100 * time.Millisecond, OnEvent: said})
	if err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *serve)
	if err != nil {
		return err
	}
	echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
	srv := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Hour}
	if !*secure {
		svc.Serve(ln, srv)
	} else if err := svc.ServeTLS(ln, srv, *socket+".cert", *socket+".key"); err != nil {
		return err
	}
	return svc.Run(ctx)
}

// said tells the measurement when something was.
func said(e drain.Event) {
	fmt.Printf("idle: %d %d %d %s\n", time.Now().UnixNano(), cpu(), os.Getpid(), e.Kind)
	if *profile == "" {
		return
	}
	switch e.Kind {
	case drain.EventReplaced, drain.EventPromoted:
		f, err := os.Create(filepath.Join(*profile, fmt.Sprintf("%s.%d", e.Kind, os.Getpid())))
		if err != nil || pprof.StartCPUProfile(f) != nil {
			return
		}
		if e.Kind == drain.EventPromoted {
			time.AfterFunc(time.Second, pprof.StopCPUProfile)
		}
	case drain.EventStopped:
		pprof.StopCPUProfile()
	}
}

// cpu is the time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
