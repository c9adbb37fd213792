package quirks

// Kept is added to the network under which tableflip knows a unix socket that a service manager may
// hold. It would remove the file of one that it knows as "unix" or "unixgram" when the process
// stops.
const Kept = ", kept"

// Aliases are the networks under which tableflip may know a socket.
func Aliases(network string) []string {
	if network == "unix" || network == "unixgram" {
		return []string{network, network + Kept}
	}
	return []string{network}
}
