package drain_test

import (
	"bytes"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// crash makes the process crash, and returns what that says in the log.
func (s *service) crash(pid int) (said []byte) {
	s.Helper()
	before := len(have(os.ReadFile(s.logFile()))(s))
	must(s, syscall.Kill(pid, syscall.SIGABRT))
	s.eventually("dead", func() bool { return !slices.Contains(living(s.pgid), pid) })
	return have(os.ReadFile(s.logFile()))(s)[before:]
}

// cores are the core files in the folder of the service, where the system writes such.
func (s *service) cores() (all [][]byte) {
	s.Helper()
	for _, name := range have(filepath.Glob(filepath.Join(s.dir, "core*")))(s) {
		f := have(os.Open(name))(s)
		info := have(f.Stat())(s)
		text := have(unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE))(s)
		_ = f.Close()
		s.Cleanup(func() { _ = unix.Munmap(text) })
		all = append(all, text)
	}
	return all
}

// A generation that crashes when it has handed its connections on leaves nothing of what the link has carried: neither
// Go's account of its goroutines, in the log, has that, nor its memory, nor a core file. One that crashes with the
// connections has no secret in that account either, while its memory has what it needs to go on with them, as that of
// any server over TLS. Copies that Go makes of keys are not spoken of.
func TestSecretsOfTLSInACrash(t *testing.T) {
	s := start(t, tlsPlan(t, plan{DrainTimeout: 4 * hung}), func(s *service, cmd *exec.Cmd) {
		cmd.Dir = s.dir
		cmd.Env = append(cmd.Env, "GOTRACEBACK=crash")
	})
	clients := []*overheard{s.overhear(tls.VersionTLS12), s.overhear(tls.VersionTLS13)}
	swap := func(gen int) { s.swapWith(gen, clients) }
	find := func(text []byte, of ...func(*overheard) [][]byte) (found int) {
		for _, c := range clients {
			for _, of := range of {
				for _, secret := range of(c) {
					for _, form := range forms(secret) {
						found += bytes.Count(text, form)
					}
				}
			}
		}
		return found
	}
	wantNone := func(pid int, said []byte) {
		t.Helper()
		if !bytes.Contains(said, []byte("SIGABRT")) || !bytes.Contains(said, []byte("goroutine ")) {
			t.Fatalf("process %d, which crashes, says %.200q", pid, said)
		}
		if n := find(said, (*overheard).traffic, (*overheard).keys); n > 0 {
			t.Errorf("process %d, which crashes, says %d secrets", pid, n)
		}
	}
	swap(2)
	second := s.main().PID
	s.slow("keeps it")
	swap(3)
	third := s.main().PID

	var limit unix.Rlimit
	must(t, unix.Prlimit(second, unix.RLIMIT_CORE, nil, &limit))
	limit.Cur = limit.Max
	must(t, unix.Prlimit(second, unix.RLIMIT_CORE, &limit, nil))
	has := memoryOf(t, second)
	wantNone(second, s.crash(second))
	cores := s.cores()
	t.Logf("%d core files", len(cores))
	for _, text := range append(cores, has) {
		if n := find(text, (*overheard).traffic); n > 0 {
			t.Errorf("%d bytes of a process that has handed them on have %d secrets", len(text), n)
		}
	}
	if n := find(memoryOf(t, third), (*overheard).traffic); n == 0 {
		t.Error("a process with the connections has none: they are not found")
	}
	wantNone(third, s.crash(third))
}
