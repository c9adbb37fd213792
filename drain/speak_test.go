package drain

import "time"

// Speak makes this process one of another version of the protocol between generations. It must come before New.
func Speak(version, oldest int) { spoken.Version, spoken.Oldest = version, oldest }

// Impatient makes this process say what it waits for that much sooner and more often. It must come before New.
func Impatient(again time.Duration) { saySoon, sayAgain = again, again }

// SameWish sets how long after a signal to stop another one says the same. It must come before New.
func SameWish(within time.Duration) { sameWish = within }
