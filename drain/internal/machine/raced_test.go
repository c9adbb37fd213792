//go:build race

package machine

func init() { raced = true }
