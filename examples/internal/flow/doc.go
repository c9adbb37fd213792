// Package flow is what the tests of the examples share: real services that
// control.sh drives, real balancers, clients that never retry, and the tables
// of results in examples/README.md. Linux only, but for builds and deploys.
package flow
