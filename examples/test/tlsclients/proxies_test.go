//go:build linux

package tlsclients

import (
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/baton-go/baton/examples/internal/flow"
)

// proxy has the clients ask a program in front of the service, at a port for each version of TLS.
func (c *crowd) proxy(port string, command ...string) {
	p := flow.Start(c, exec.Command(command[0], command[1:]...))
	defer func() {
		_ = p.Process.Signal(os.Interrupt) // nginx's workers would outlive a kill -9
		<-p.Ended()
	}()
	at := func(i int) string { return net.JoinHostPort(c.site.host, port+[]string{"3", "2"}[i%2]) }
	for i := range 2 {
		p.Answers(c, at(i))
	}
	c.over(func(i int) (net.Conn, error) { return net.DialTimeout("tcp", at(i), flow.Patience) })
}

// config writes a configuration into a folder of its own.
func (c *crowd) config(text string) (dir, path string) {
	dir = flow.Dir(c)
	text = strings.NewReplacer("HOST", c.site.host, "SERVICE", c.site.Addr, "CERT", c.site.cert).Replace(text)
	return dir, flow.WriteFile(c, dir, "conf", text)
}

func nginx(c *crowd) {
	bin := flow.Tool(c, "nginx", "apt-get install nginx-light")
	side := func(port, version string) string {
		return strings.NewReplacer("PORT", port, "VERSION", version).Replace(`
	upstream sVERSION {
		server SERVICE;
		keepalive 16;
		keepalive_requests 1000000;
	}
	server {
		listen HOST:PORT;
		keepalive_requests 1000000;
		location / {
			proxy_pass https://sVERSION;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_next_upstream off;
			proxy_request_buffering off;
			proxy_ssl_protocols VERSION;
			proxy_ssl_verify on;
			proxy_ssl_trusted_certificate CERT;
			proxy_ssl_name HOST;
		}
	}`)
	}
	dir, path := c.config(`
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	scgi_temp_path scgi;
	uwsgi_temp_path uwsgi;` + side("8093", "TLSv1.3") + side("8092", "TLSv1.2") + `
}
`)
	c.proxy("809", bin, "-p", dir, "-c", path, "-e", "stderr")
}

func haproxy(c *crowd) {
	bin := flow.Tool(c, "haproxy", "apt-get install haproxy")
	ports, alpn := "808", "http/1.1"
	if c.http2 {
		ports, alpn = "807", "h2"
	}
	side := func(port, version string) string {
		return strings.NewReplacer("PORT", ports+port, "VERSION", version, "ALPN", alpn).Replace(`
listen PORT
	bind HOST:PORT
	server s SERVICE ssl verify required ca-file CERT ssl-min-ver VERSION ssl-max-ver VERSION alpn ALPN` +
			" pool-purge-delay 1h\n")
	}
	_, path := c.config(`
global
	nbthread 1
defaults
	mode http
	timeout connect 60s
	timeout client 60s
	timeout server 60s
	retries 0
	http-reuse always
` + side("3", "TLSv1.3") + side("2", "TLSv1.2"))
	c.proxy(ports, bin, "-db", "-f", path)
}
