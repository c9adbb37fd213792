//go:build linux

package starters

import (
	"os"
	"regexp"
	"strings"
)

var supervisors = []starter{
	{"supervisord", "supervisor", "supervisord --version", func(s *site) running {
		conf := s.write("supervisord.conf", `
[supervisord]
nodaemon = true
logfile = `+s.Path("supervisord.log")+`
pidfile = `+s.Path("supervisord.pid")+`
[unix_http_server]
file = `+s.Path("sock")+`
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://`+s.Path("sock")+`
[program:app]
command = `+s.command()+`
stopsignal = TERM
stopwaitsecs = 60
stopasgroup = true
killasgroup = true
autorestart = true
redirect_stderr = true
stdout_logfile = `+s.Path("log")+`
`)
		s.apart("supervisord -c " + conf)
		ctl := func(args ...string) string { return s.do(append([]string{"supervisorctl", "-c", conf}, args...)...) }
		return running{
			swap:  func() { ctl("signal", "HUP", "app") },
			stop:  func() { ctl("stop", "app") },
			state: func() string { return find(`RUNNING +pid \d+`, ctl("status", "app")) },
			codes: func() string {
				return find(`(?:exited|stopped): app \(exit status (\d+)`, s.words("supervisord.log"))
			},
		}
	}},
	{"runit", "runit", "dpkg-query -W runit", func(s *site) running {
		dir := s.supervised()
		s.apart("runsvdir " + s.Path("services"))
		return running{
			swap:  func() { s.do("sv", "hup", dir) },
			stop:  func() { s.do("sv", "-w", "60", "down", dir) },
			state: func() string { return find(`run: .*: \(pid \d+\)`, s.do("sv", "status", dir)) },
			codes: func() string { return s.words("codes") },
		}
	}},
	{"s6", "s6", "dpkg-query -W s6", func(s *site) running {
		dir := s.supervised()
		s.apart("s6-svscan " + s.Path("services"))
		return running{
			swap:  func() { s.do("s6-svc", "-h", dir) },
			stop:  func() { s.do("s6-svc", "-wD", "-T", "60000", "-d", dir) },
			state: func() string { return find(`true \d+`, s.do("s6-svstat", "-o", "up,pid", dir)) },
			codes: func() string { return s.words("codes") },
		}
	}},
}

// supervised makes a folder that runit and s6 understand. They run finish with the exit code of run.
func (s *site) supervised() string {
	dir := s.Path("services/app")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.write("services/app/run", "#!/bin/sh\nexec "+s.command()+" >>"+s.Path("log")+" 2>&1\n")
	s.write("services/app/finish", "#!/bin/sh\necho $1 >>"+s.Path("codes")+"\n")
	return dir
}

// find returns what is in the parentheses of each match, or the whole ones.
func find(pattern, text string) string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[len(m)-1])
	}
	return strings.Join(found, " ")
}
