//go:build linux

package authdovecot

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

var (
	ctx  = context.Background()
	peer = caddymsa.Peer{IP: netip.MustParseAddr("127.0.0.1"), Server: "msa.example.org", Session: "test"}
)

// users of the Dovecot under test: a passwd-file.
const users = `alice@example.org:{PLAIN}secret:1000:1000::/home/alice::userdb_addresses=alice@example.net,@dept.example.org userdb_stamp=1 mail=alice@example.com
bob@example.org:{PLAIN}hunter2:1000:1000::/home/bob::user=robert@example.org
robert@example.org:{PLAIN}other:1000:1000::/home/bob::
former@example.org:{PLAIN}secret:1000:1000::/home/former::nologin
near@example.org:{PLAIN}secret:1000:1000::/home/near::allow_nets=127.0.0.0/8
far@example.org:{PLAIN}secret:1000:1000::/home/far::allow_nets=10.0.0.0/8
typed@example.org:{SHA256}YgOjt6Bs3hLrFZvW3o2zTGUd4zJ9ZvVqnE0Oj9Vewf4=:1000:1000::/home/typed::
prepared@example.org:{SHA256}4l9bbWpKn5S5HpvtEKYu25pL2Kq8rMLRwRASQz/wRRY=:1000:1000::/home/prepared::
composed@example.org:{SHA256}EANCsyBc50Ws98rQNsF6NmXVepHcnQW2myUHfnsv8hs=:1000:1000::/home/composed::
`

const config = `
base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = /dev/stderr
protocols =
ssl = no
default_internal_user = %[2]s
default_internal_group = %[3]s
default_login_user = %[4]s
first_valid_uid = 1
first_valid_gid = 1
auth_mechanisms = plain login digest-md5 scram-sha-256
auth_realms = example.org
auth_username_chars =
auth_verbose = yes
auth_failure_delay = 0 secs
passdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
userdb {
  driver = passwd-file
  args = username_format=%%u %[1]s/users
}
service auth {
  chroot =
  unix_listener msa-client {
    mode = 0600
    user = %[5]s
  }
  unix_listener msa-userdb {
    mode = 0600
    user = %[5]s
  }
  inet_listener {
    address = 127.0.0.1
    port = %[6]d
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
`

// dovecot is the real one, of Debian's package dovecot-core.
type dovecot struct {
	t              testing.TB
	binary, dir    string
	client, userdb string // sockets
	tcp            string // address
	cmd            *exec.Cmd
	log            *lockedBuffer
}

// startDovecot runs one that holds refusals back as little as it can, which is half a second.
func startDovecot(t testing.TB) *dovecot {
	t.Helper()
	binary := installed.Need(t, "dovecot")
	// Sockets below it: t.TempDir may be too long a name for these.
	dir, err := os.MkdirTemp("", "msa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Dovecot's own users pass through
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	internal, internalGroup, login := me.Username, group.Name, me.Username
	if os.Getuid() == 0 { // Dovecot wants others for its work
		internal, internalGroup, login = "dovecot", "dovecot", "dovenull"
	}
	d := &dovecot{
		t: t, binary: binary, dir: dir, client: dir + "/run/msa-client", userdb: dir + "/run/msa-userdb", log: new(lockedBuffer),
	}
	port := installed.FreePort(t)
	d.tcp = fmt.Sprintf("127.0.0.1:%d", port)
	d.setUsers(users)
	text := fmt.Sprintf(config, dir, internal, internalGroup, login, me.Username, port)
	if err := os.WriteFile(dir+"/dovecot.conf", []byte(text), 0o644); err != nil { //nolint:gosec // no secret
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("Dovecot said:\n%s", d.log)
		}
	})
	d.run()
	return d
}

// setUsers swaps the users, which Dovecot sees at its next question.
func (d *dovecot) setUsers(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.dir+"/users.new", []byte(text), 0o644); err != nil { //nolint:gosec // for Dovecot's user
		d.t.Fatal(err)
	}
	if err := os.Rename(d.dir+"/users.new", d.dir+"/users"); err != nil {
		d.t.Fatal(err)
	}
}

// run starts the process and waits for its sockets; it may be called again after kill.
func (d *dovecot) run() {
	d.t.Helper()
	d.cmd = exec.Command(d.binary, "-F", "-c", d.dir+"/dovecot.conf")
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	d.cmd.WaitDelay = time.Second
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	await(d.t, "Dovecot's socket", func() bool {
		nc, err := net.Dial("unix", d.client)
		if err != nil {
			return false
		}
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		defer nc.Close()
		n, _ := nc.Read(make([]byte, 1))
		return n == 1
	})
}

// kill ends all processes of Dovecot, which are one group.
func (d *dovecot) kill() {
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	_ = d.cmd.Wait()
}

// auth are the ids of the auth processes, which are children of Dovecot's master.
func (d *dovecot) auth() (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		before, after, ok := strings.Cut(string(b), " (auth) ")
		words := strings.Fields(after)
		if !ok || len(words) < 2 || words[1] != strconv.Itoa(d.cmd.Process.Pid) {
			continue
		}
		pid, _ := strconv.Atoi(before)
		pids = append(pids, pid)
	}
	return pids
}

// signal reaches Dovecot's auth process alone.
func (d *dovecot) signal(s syscall.Signal) {
	d.t.Helper()
	pids := d.auth()
	if len(pids) == 0 {
		d.t.Fatal("Dovecot has no auth process")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, s); err != nil {
			d.t.Fatal(err)
		}
	}
	if s == syscall.SIGSTOP {
		installed.AwaitStopped(d.t, pids...)
	}
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// provisioning goes through a variable of Caddy's, which parallel tests must not share.
var provisioning sync.Mutex

// must provisions a backend.
func must(t testing.TB, d *Dovecot) *Dovecot {
	t.Helper()
	d.Timeout = cmp.Or(d.Timeout, conf.Duration(time.Minute)) // a busy machine may not keep the default of 10 seconds
	provisioning.Lock()
	defer provisioning.Unlock()
	if err := d.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Cleanup() })
	return d
}

func refusedBy(err error) bool { return errors.Is(err, caddymsa.ErrCredentials) }

// lockedBuffer keeps what a process says.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
