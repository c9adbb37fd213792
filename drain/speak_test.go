package drain

// Speak makes this process one of another version of the protocol between generations. It must come before New.
func Speak(version, oldest int) { spoken.Version, spoken.Oldest = version, oldest }
