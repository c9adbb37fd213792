//go:build race

package listener

const raceEnabled = true

// stride is the distance between the points that a sweep tries. The race detector takes ten times as long for each and
// finds the same at one as at its neighbour: make test tries them all.
const stride = 5
