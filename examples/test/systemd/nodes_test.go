//go:build linux

package systemd

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// balancer is a HAProxy in front of the units app and app2.
const balancer = `global
	stats socket /run/haproxy.sock level admin
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
frontend site
	bind 127.0.0.1:8000
	default_backend app
backend app
	option httpchk GET /ping
	default-server weight 100 check inter 250ms fall 3 rise 2
	server app 127.0.0.1:8080
	server app2 127.0.0.1:8082
`

// sshd is one for each connection, whose ends are its standard streams.
const (
	sshd = "HostKey /srv/key\nAuthorizedKeysFile /srv/key.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n" +
		"PidFile none\nPrintMotd no\nSetEnv " + flow.QuickSSHD + "\n"
	ssh = "BatchMode yes\nStrictHostKeyChecking no\nLogLevel ERROR\nUserKnownHostsFile /dev/null\n" +
		"IdentitiesOnly yes\nUser root\nIdentityFile /srv/key\n" +
		"ProxyCommand /usr/sbin/sshd -i -f /srv/sshd\n" + flow.QuickSSH
)

// TestReleaseUnits: two units behind a balancer, which release.sh reaches by ssh: stopped, replaced and started one
// after the other, and so is the way back from a version that fails. Settings go along.
func TestReleaseUnits(t *testing.T) {
	flow.Tool(t, "haproxy", "apt-get install haproxy")
	flow.Tool(t, "socat", "apt-get install socat")
	flow.Tool(t, "sshd", "apt-get install openssh-server")
	b := newReleased(t, "Environment=APP_PULL_MAX=5s")
	write := func(path, text string) {
		t.Helper()
		b.put(flow.WriteFile(t, t.TempDir(), filepath.Base(path), text), path)
	}
	second := strings.NewReplacer(
		"/usr/local/bin/app", "/usr/local/bin/app2",
		"/run/app/", "/run/app2/",
		"RuntimeDirectory=app\n", "RuntimeDirectory=app2\n",
		"UNIT=app\n", "UNIT=app2\n",
		"NODE=app ", "NODE=app2 ",
		":8080", ":8082",
	)
	for from, to := range map[string]string{
		"app.service":   units + "app2.service",
		"releases.conf": units + "app2.service.d/releases.conf",
		"app.node":      "/etc/app/app2",
	} {
		text, err := os.ReadFile("../../deploy/systemd/" + from)
		if err != nil {
			t.Fatal(err)
		}
		write(to, second.Replace(string(text)))
	}
	write(units+"app2.service.d/test.conf", "[Service]\nEnvironment=APP_PROBATION=100ms\nEnvironment=APP_PULL_MAX=5s\n")
	b.put("../../deploy/balancer/haproxy.sh", lib+"balancer/haproxy.sh")
	write("/srv/haproxy.cfg", balancer)
	write("/srv/sshd", sshd)
	write("/srv/ssh", ssh)
	write("/srv/env", "APP_DRAIN_TIMEOUT=11s\n")
	b.run("sh", "-euc", "ssh-keygen -q -t ed25519 -N '' -f /srv/key && mkdir -p /run/sshd && "+
		"systemctl daemon-reload && haproxy -D -f /srv/haproxy.cfg")
	release := func(code int, words, verb, file string, env ...string) {
		t.Helper()
		args := append([]string{"run", "env", "NODES=app app2", "BALANCER=haproxy", "HAPROXY=/run/haproxy.sock",
			"STATE=/var/lib/app.release", "ON=ssh -F /srv/ssh",
			"AT_NODE=env SITE=/etc/app sh " + lib + "node.sh"}, env...)
		args = append(args, "sh", lib+"release.sh", verb)
		cmd := exec.Command("../../deploy/systemd/bed.sh", append(args, strings.Fields(file)...)...)
		cmd.Env = append(os.Environ(), b.env...)
		out, got := flow.Run(t, cmd)
		t.Logf("release.sh %s %s: %d\n%s", verb, file, got, out)
		if got != code || !strings.Contains(out, words) {
			t.Fatalf("release.sh %s: exit code %d, want %d and %q", verb, got, code, words)
		}
	}
	runs := func(version string) {
		t.Helper()
		for _, port := range []string{"8080", "8082"} {
			out := b.run("curl", "-q", "-s", "-f", "http://127.0.0.1:"+port+"/whoami")
			if !strings.Contains(out, `"version":"`+version+`"`) {
				t.Fatalf("at %s answers %s, want version %s", port, out, version)
			}
		}
	}
	environ := func() string {
		pid := strings.TrimSpace(b.ctl(0, "show", "app2", "--value", "-p", "MainPID"))
		return b.run("sh", "-c", `tr '\0' '\n' <"/proc/$1/environ"`, "sh", pid)
	}
	release(0, "complete", "upgrade", b.file("v1", ""))
	runs("v1")
	load := flow.NewLoadBy(t, func() (net.Conn, error) { return b.net.Dial("127.0.0.1:8000") }, "127.0.0.1:8000", 8, 2)
	release(0, "complete", "upgrade", b.file("v2", ""), "SETTINGS=/srv/env")
	runs("v2")
	release(1, "failed, and has its old version back", "upgrade", b.file("bad", "crash"))
	release(0, "rolled back", "rollback", "")
	runs("v2")
	release(0, "complete", "upgrade", b.file("v1", ""))
	runs("v1")
	if env := environ(); !strings.Contains(env, "APP_DRAIN_TIMEOUT=11s\n") {
		t.Errorf("a release without settings has taken the service's away:\n%s", env)
	}
	load.Flows(50)
	load.Lossless()
}
