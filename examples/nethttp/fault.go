package main

import (
	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/examples/internal/faulty"
)

// fault makes a build that goes wrong on purpose, for the tour and the tests:
// go build -ldflags "-X main.fault=crash" (or probation, hang, check). A real
// service has no such file, and hands its drain.Config to drain.New as it is.
var fault string

func broken(cfg drain.Config) drain.Config { return faulty.Config(fault, cfg) }
