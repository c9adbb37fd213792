package listener

import "time"

// instant is a moment as the time since origin. To know one costs half of what time.Now does, and
// each request takes two. Zero is longer ago than any grace.
type instant = time.Duration

// origin has a monotonic reading, so a change of the wall clock ends no grace.
var origin = time.Now().Add(-1 << 60)

func now() instant { return time.Since(origin) }
