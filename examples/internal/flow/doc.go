// Package flow is what the tests of the deployment flows share: real services
// that control.sh drives, real balancers, clients that never retry, and the
// table of results in examples/README.md. Linux only.
package flow
