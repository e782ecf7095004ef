// Package machine looks at what a server has of the machine it runs on: its clock, disk, limits, files and environment.
package machine

import (
	"os"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Clock says whether the clock is kept right.
func Clock() []doctor.Finding {
	synchronized, known := clockSynchronized()
	return clock(synchronized, known)
}

func clock(synchronized, known bool) []doctor.Finding {
	n := doctor.About("clock", "")
	switch {
	case !known:
		n.Skip("see that a time service runs", "this system does not say whether its clock is synchronized")
	case synchronized:
		n.OK("it is synchronized")
	default:
		n.Warn("run a time service: systemctl enable --now systemd-timesyncd, or chrony; in a container the host does",
			"no time service keeps it right: certificates, tokens, DKIM signatures and the times in the journal depend on it")
	}
	return n.Findings
}

// Limits are what the system lets the process have; 0: as much as it wants.
type Limits struct {
	Files    uint64 // open at once
	FileSize uint64 // octets
}

// need is what a server wants of the limits.
const (
	filesAside    = 512 // of spool, log, admin API, next hops
	filesOfClient = 2   // its connection, and now and then a body in the spool
)

// Check compares the limits with how many clients and how large messages are let in.
func (l Limits) Check(connections int, messageSize int64) []doctor.Finding {
	n := doctor.About("limits", "")
	if want := uint64(connections)*filesOfClient + filesAside; l.Files != 0 && l.Files < want {
		n.Warn("raise LimitNOFILE in the unit (systemctl edit caddy-msa, or caddy) or ulimit -n, or lower limits { connections }", "the process may open %d files, and the %d clients that limits let in at once need %d", l.Files, connections, want)
	}
	if l.FileSize != 0 && messageSize > 0 && l.FileSize < uint64(messageSize) {
		n.Wrong("raise LimitFSIZE in the unit or ulimit -f", "the process may write files of %d octets, and messages may have %d", l.FileSize, messageSize)
	}
	if n.Clean() {
		n.OK("the process may open files enough for %d clients", connections)
	}
	return n.Findings
}

// proxyVariables are heeded by libraries that call web services.
var proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}

// Proxies looks for proxies in the environment, which some parts heed and others do not.
func Proxies(environ []string) []doctor.Finding {
	n := doctor.About("proxies", "environment")
	var set []string
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if value != "" && slices.Contains(proxyVariables, strings.ToUpper(name)) {
			set = append(set, name)
		}
	}
	if len(set) > 0 {
		n.Warn("leave them out of the unit if nothing needs them; ACME goes through them, web services of auth, policies, webhooks and routes do not", "%s is set for the process", strings.Join(set, ", "))
		return n.Findings
	}
	n.OK("no proxy is set for the process")
	return n.Findings
}

// Private checks that others on the machine cannot read a file with secrets, or write it.
func Private(n *doctor.Notes, what, file string) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		n.Wrong("put it back, or correct the path; it must be readable by the user that Caddy runs as", "%s cannot be read: %v", what, err)
	case info.Mode().Perm()&0o002 != 0:
		n.Wrong("chmod o-w "+file, "%s %s can be changed by everybody on this machine (mode %04o)", what, file, info.Mode().Perm())
	case info.Mode().Perm()&0o007 != 0:
		n.Warn("chmod o= "+file, "%s %s can be read by everybody on this machine (mode %04o)", what, file, info.Mode().Perm())
	default:
		n.OK("%s %s is private (mode %04o)", what, file, info.Mode().Perm())
	}
}
