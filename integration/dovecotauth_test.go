package integration

import (
	"os"
	"os/exec"
	"os/user"
	"strings"
	"syscall"
	"testing"
)

const dovecotForAuth = `base_dir = $DIR/run
state_dir = $DIR/run
log_path = /dev/stderr
protocols =
ssl = no
default_internal_user = $INTERNAL
default_internal_group = $GROUP
default_login_user = $LOGIN
first_valid_uid = 1
first_valid_gid = 1
auth_mechanisms = plain digest-md5 scram-sha-256
auth_realms = example.org
auth_failure_delay = 0 secs
passdb {
  driver = passwd-file
  args = username_format=%u $DIR/users
}
userdb {
  driver = passwd-file
  args = username_format=%u $DIR/users
}
service auth {
  chroot =
  unix_listener msa-client {
    mode = 0600
    user = $ME
  }
  unix_listener msa-userdb {
    mode = 0600
    user = $ME
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
`

// authDovecot is a Dovecot that serves nothing but logins.
type authDovecot struct {
	t   *testing.T
	dir string
	cmd *exec.Cmd
}

func startAuthDovecot(t *testing.T, users string) *authDovecot {
	t.Helper()
	binary := need(t, "dovecot")
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
	d := &authDovecot{t: t, dir: dir}
	d.setUsers(users)
	config := strings.NewReplacer("$DIR", dir, "$INTERNAL", internal, "$GROUP", internalGroup, "$LOGIN", login, "$ME", me.Username).Replace(dovecotForAuth)
	if err := os.WriteFile(dir+"/dovecot.conf", []byte(config), 0o644); err != nil { //nolint:gosec // no secret
		t.Fatal(err)
	}
	log := new(logBuffer)
	d.cmd = exec.Command(binary, "-F", "-c", dir+"/dovecot.conf")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("Dovecot said:\n%s", log)
		}
	})
	await(t, "Dovecot's sockets", func() bool {
		_, err := os.Stat(dir + "/run/msa-userdb")
		return err == nil
	})
	return d
}

// setUsers swaps the users, at which Dovecot looks once a second.
func (d *authDovecot) setUsers(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.dir+"/users.new", []byte(text), 0o644); err != nil { //nolint:gosec // for Dovecot's user
		d.t.Fatal(err)
	}
	if err := os.Rename(d.dir+"/users.new", d.dir+"/users"); err != nil {
		d.t.Fatal(err)
	}
}

// kill ends all processes of Dovecot, which are one group.
func (d *authDovecot) kill() {
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	_ = d.cmd.Wait()
}

// an existing Dovecot is enough. Its users log in with every mechanism that it has, an
// open session ends with its user, and a Dovecot that is gone is not a refusal.
func TestDovecotUsers(t *testing.T) {
	t.Parallel()
	const users = "alice@example.org:{PLAIN}secret:1000:1000::/home/alice::userdb_addresses=alias@example.org\n" +
		"bob@example.org:{PLAIN}hunter2:1000:1000::/home/bob::\n"
	d := startAuthDovecot(t, users)
	s := start(t, layout{auth: strings.ReplaceAll(`auth {
		throttle off
		dovecot SOCKETS/msa-client {
			userdb SOCKETS/msa-userdb
			mechanisms SCRAM-SHA-256 DIGEST-MD5
			addresses_field addresses
			timeout 30s
		}
	}`, "SOCKETS", d.dir+"/run")})
	sent := 0
	for _, mechanism := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "DIGEST-MD5"} {
		args := []string{"--mechanism", mechanism, "--from", "alias@example.org", "--to", "bob@example.net"}
		if mechanism == "DIGEST-MD5" { // Dovecot adds the realm
			args = append(args, "--user", "alice", "--realm", "example.org")
		}
		if out, err := s.submit(args...); err != nil || !strings.Contains(out, "queued as") {
			t.Errorf("%s: %v\n%s", mechanism, err, out)
		}
		sent++
		if out, err := s.submit(append(args, "--password", "wrong")...); err == nil || !strings.Contains(out, "535 5.7.8") {
			t.Errorf("%s with a wrong password: %v\n%s", mechanism, err, out)
		}
		if out, err := s.submit(append(args, "--from", "bob@example.org")...); err == nil || !strings.Contains(out, "550 5.7.1") {
			t.Errorf("%s as somebody else: %v\n%s", mechanism, err, out)
		}
	}
	s.mail("bob@example.net", sent)

	open, err := s.as(s.tlsConfig(), "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer open.close()
	if _, err := open.submit("alice@example.org", "bob@example.net", letter("while she is there")); err != nil {
		t.Error(err)
	}
	d.setUsers(strings.Replace(users, "alice@", "somebody.else@", 1))
	await(t, "Dovecot to see that alice is gone", func() bool { return s.authAs("alice@example.org", "secret") == "535" })
	if err := open.do("421", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error("a user who is gone:", err)
	}

	d.kill()
	for _, name := range []string{"bob@example.org", "nobody@example.org"} {
		if code := s.authAs(name, "hunter2"); code != "454" {
			t.Errorf("%s while Dovecot is gone: %s", name, code)
		}
	}
	s.logged("could not be decided", "dovecot")
}
