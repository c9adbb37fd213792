//go:build race

package health

func init() { raced = true }
