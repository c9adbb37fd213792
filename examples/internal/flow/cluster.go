//go:build linux

package flow

// Routes is a command that succeeds on a node of Kubernetes when its kube-proxy sends connections to the service at an
// address. It reads the rules and does not connect. Kube-proxy takes the refusal away before it has the pods: what
// connects in between goes nowhere, and conntrack sends each further connection from the same port after it, for two
// minutes. Where port numbers come round, a client is told then that the network is unreachable.
func Routes(ip string) string {
	return "iptables -t nat -S KUBE-SERVICES 2>/dev/null | grep -q -e '-d " + ip + "/32 .*-j KUBE-SVC-'"
}
