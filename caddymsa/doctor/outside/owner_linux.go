package outside

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listener names the process that listens on an address of this machine, for a sentence; empty if that cannot be known.
func listener(address string) string {
	host, port, err := net.SplitHostPort(address)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || !isLocal(host) {
		return ""
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for _, inode := range listening(table, uint16(n)) {
			if name := holder(inode); name != "" {
				return fmt.Sprintf(" (the port is process %s's)", name)
			}
		}
	}
	return ""
}

// isLocal tells whether an address is one of this machine's.
func isLocal(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == ip.Unmap() {
			return true
		}
	}
	return ip.IsLoopback()
}

// listening are the inodes of the sockets that listen on a port.
func listening(table string, port uint16) (inodes []string) {
	f, err := os.Open(table)
	if err != nil {
		return nil
	}
	defer f.Close()
	const listen = "0A"
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) > 9 && w[3] == listen && strings.HasSuffix(w[1], fmt.Sprintf(":%04X", port)) {
			inodes = append(inodes, w[9])
		}
	}
	return inodes
}

// holder is the process that has a socket open, as far as this user may see.
func holder(inode string) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == "socket:["+inode+"]" {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return pid + ", " + short(strings.TrimSpace(string(name)))
		}
	}
	return ""
}
