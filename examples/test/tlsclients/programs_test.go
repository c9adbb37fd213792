//go:build linux

package tlsclients

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"github.com/baton-go/baton/examples/internal/flow"
)

// program runs a client until its end, which must come with that exit code, and returns what it has logged.
func (c *crowd) program(code int, name string, args ...string) string {
	var log bytes.Buffer
	cmd := exec.CommandContext(c.Context(), name, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "no_proxy=*"), &log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.Error(err)
		return ""
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		c.says(lines.Text())
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != code {
		c.Errorf("%s: %v, want exit code %d\n%s", name, err, code, log.Bytes())
	}
	return log.String()
}

// script runs a client that makes all the connections, and ends with 0.
func (c *crowd) script(name string, args ...string) {
	c.program(0, name, append(args, c.site.host, c.site.port, c.site.cert, strconv.Itoa(each))...)
}

// curl asks for one URL after the other, which is the way to have it keep its connection.
func curl(c *crowd) {
	body := flow.WriteFile(c, c.TempDir(), "body", strings.Repeat("baton", 200))
	path, version := flow.Tool(c, "curl", "apt-get install curl"), "--http1.1"
	if c.http2 {
		version = "--http2"
	}
	var running sync.WaitGroup
	for i := range each {
		tls := []string{"1.3", "1.2"}[i%2]
		running.Go(func() {
			log := c.program(22, path, "-q", "-v", "-s", "-N", version, "--cacert", c.site.cert,
				"--tlsv"+tls, "--tls-max", tls, "--fail", "--fail-early", "--rate", "10/s", "--max-time", "60",
				"--data-binary", "@"+body, fmt.Sprintf("https://%s/%s/%d/[0-99999]", c.site.Addr, c.name, i))
			if n := strings.Count(log, "retrying a fresh connect"); n > 0 { // it may not be told to let that be
				c.says(fmt.Sprintf("client %d sent %d requests again", i, n))
			}
		})
	}
	running.Wait()
}

func python(c *crowd) {
	for _, python := range []string{"python3", "/usr/bin/python3"} { // the system's has what apt-get installs
		if exec.Command(python, "-c", "import "+c.name).Run() == nil {
			c.script(python, "testdata/client.py", c.name)
			return
		}
	}
	flow.Missing(c, "Python with "+c.name, "apt-get install python3-requests")
}

func node(c *crowd) {
	script := "testdata/client.js"
	if c.http2 {
		script = "testdata/client2.js"
	}
	c.script(flow.Tool(c, "node", "apt-get install nodejs"), script)
}

func java(c *crowd) {
	dir := c.TempDir()
	if said, code := flow.Run(c, exec.Command(flow.Tool(c, "javac", "apt-get install default-jdk-headless"), "-d", dir,
		"testdata/Client.java")); code != 0 {
		c.Fatal(said)
	}
	c.script(flow.Tool(c, "java", "apt-get install default-jdk-headless"),
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Djdk.httpclient.enableAllMethodRetry=false", "-cp", dir, "Client")
}
