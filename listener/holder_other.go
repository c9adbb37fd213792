//go:build !linux

package listener

func holder(string, string) string { return "" }
