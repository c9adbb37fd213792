//go:build unix && !linux

package process

// score would tell the kernel which process to kill where memory runs out.
type score struct{}

func openScore(string) *score { return nil }

func (*score) raise() {}

func (*score) putBack() error { return nil }

// Score returns "": this system has none.
func Score() string { return "" }

// Promoted does nothing: this system has no score.
func Promoted(string) error { return nil }

func oomKills() string { return "" }
