package place

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HolderTime bounds the search for the process that holds an address: a machine may have many
// processes. Only a test changes it.
var HolderTime = 500 * time.Millisecond

// Holder says which process holds an address that is in use: "process 1234 (nginx)", or of another
// user's process the user. It is "" where the kernel does not tell.
func Holder(network, address string) string {
	want, err := Wanted(network, address)
	if err != nil {
		return ""
	}
	until := time.Now().Add(HolderTime)
	sockets := make(map[string]int) // their inodes, and users, -1 if not known
	if IsUnix(want.Network) {
		unixHolders(want, sockets)
	} else {
		for _, version := range []string{"", "6"} {
			inetHolders(want, version, until, sockets)
		}
	}
	if len(sockets) == 0 {
		return ""
	}
	pids := owners(sockets, until)
	if len(pids) == 0 {
		for _, uid := range sockets {
			if uid >= 0 && uid != os.Geteuid() {
				return fmt.Sprintf("a process of user %d", uid)
			}
		}
		return ""
	}
	var names []string
	for _, pid := range pids[:min(len(pids), 3)] {
		if pid == os.Getpid() {
			names = append(names, Self)
			continue
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		names = append(names, fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(comm))))
	}
	return strings.Join(names, ", ")
}

// inetHolders adds the sockets that listen where want would. The listening ones come first in the
// file.
func inetHolders(want Place, version string, until time.Time, sockets map[string]int) {
	f, err := os.Open("/proc/self/net/" + want.Network + version)
	if err != nil {
		return
	}
	defer f.Close()
	const local, state, uid, inode = 1, 3, 7, 9
	lines := bufio.NewScanner(f)
	for lines.Scan() && time.Now().Before(until) {
		f := strings.Fields(lines.Text())
		if len(f) <= inode || f[0] == "sl" {
			continue
		}
		if want.Network == "tcp" && f[state] != "0A" {
			return
		}
		have := Place{Network: want.Network, Both: version == "6"} // as far as one can see
		if have.Addr = hexAddr(f[local]); have.Overlaps(want) {
			n, err := strconv.Atoi(f[uid])
			if err != nil {
				n = -1
			}
			sockets[f[inode]] = n
		}
	}
}

// hexAddr reads an address as the kernel prints it: words of four bytes, each as the machine has
// it.
func hexAddr(text string) netip.AddrPort {
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	n, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil || len(b)%4 != 0 {
		return netip.AddrPort{}
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, _ := netip.AddrFromSlice(b)
	return plain(netip.AddrPortFrom(ip, uint16(n)))
}

// unixHolders adds the sockets that are bound to the path, or are so by another spelling.
func unixHolders(want Place, sockets map[string]int) {
	f, err := os.Open("/proc/self/net/unix")
	if err != nil {
		return
	}
	defer f.Close()
	const inode, path = 6, 7
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		f := strings.Fields(lines.Text()) // Num RefCount Protocol Flags Type St Inode Path
		if len(f) <= path {
			continue
		}
		bound := strings.Join(f[path:], " ")
		if filepath.Base(bound) == filepath.Base(want.Path) && SamePath(bound, want.Path) {
			sockets[f[inode]] = -1
		}
	}
}

// owners returns the processes that have one of the sockets open, as far as this user may know.
func owners(sockets map[string]int, until time.Time) (pids []int) {
	procs, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer procs.Close()
	names, _ := procs.Readdirnames(-1)
	self := strconv.Itoa(os.Getpid())
	for i, name := range append([]string{self}, names...) { // the likeliest first: there may be no time for all
		pid, err := strconv.Atoi(name)
		if err != nil || i > 0 && (name == self || time.Now().After(until)) {
			continue
		}
		dir := filepath.Join("/proc", name, "fd")
		fds, _ := os.ReadDir(dir)
		for _, fd := range fds {
			target, _ := os.Readlink(filepath.Join(dir, fd.Name()))
			inode, ok := strings.CutPrefix(strings.TrimSuffix(target, "]"), "socket:[")
			if _, held := sockets[inode]; ok && held {
				pids = append(pids, pid)
				break
			}
		}
	}
	slices.Sort(pids)
	return pids
}
