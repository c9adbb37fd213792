package drain

import "time"

// Speak makes this process one of another version of the protocol between generations. It must come before New.
func Speak(version, oldest int) { spoken.Version, spoken.Oldest = version, oldest }

// SameWish sets how long after a signal to stop another one says the same. It must come before New.
func SameWish(within time.Duration) { sameWish = within }
