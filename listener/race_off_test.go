//go:build !race

package listener

const raceEnabled = false

const stride = 1
