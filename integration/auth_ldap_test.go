package integration

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// directory is a slapd of Debian's, with alice and bob in it.
type directory struct {
	t        *testing.T
	dir, url string
	program  string
	cmd      *exec.Cmd
	ended    chan struct{}
}

const slapdConf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix dc=example,dc=org
rootdn cn=root,dc=example,dc=org
rootpw root
directory DIR
access to attrs=userPassword by anonymous auth by * none
access to * by * read
`

const slapdPeople = `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Liddell
mail: alice@example.org
userPassword: secret

dn: uid=bob,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Builder
mail: bob@example.org
userPassword: secret
`

func startDirectory(t *testing.T) *directory {
	t.Helper()
	d := &directory{t: t, dir: t.TempDir(), url: "ldap://" + freeAddress(t), program: need(t, "slapd")}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("slapd.conf", strings.Replace(slapdConf, "DIR", d.dir, 1))
	write("people.ldif", slapdPeople)
	add := exec.Command(d.program, "-q", "-f", d.dir+"/slapd.conf", "-l", d.dir+"/people.ldif")
	add.Args[0] = "slapadd"
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	d.run()
	return d
}

func (d *directory) run() {
	d.t.Helper()
	cmd, ended := exec.Command(d.program, "-d", "0", "-f", d.dir+"/slapd.conf", "-h", d.url), make(chan struct{})
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	d.cmd, d.ended = cmd, ended
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	await(d.t, "slapd", func() bool {
		nc, err := net.Dial("tcp", strings.TrimPrefix(d.url, "ldap://"))
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}

func (d *directory) modify(ldif string) {
	d.t.Helper()
	cmd := exec.Command(need(d.t, "ldapmodify"), "-x", "-H", d.url, "-D", "cn=root,dc=example,dc=org", "-w", "root")
	cmd.Stdin = strings.NewReader(ldif)
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("ldapmodify: %v\n%s", err, out)
	}
}

// Users of a directory through the whole server: a directory that hangs or is gone is not a refusal, and a user
// who is gone submits no more.
func TestLDAPUsers(t *testing.T) {
	t.Parallel()
	d := startDirectory(t)
	s := newServer(t)
	l := layout{auth: "auth {\n throttle off\n ldap " + d.url + " {\n base dc=example,dc=org\n user_attributes mail\n timeout 10s\n}\n}"}
	s.write("Caddyfile", s.caddyfile(l))
	s.run()
	trust := s.tlsConfig()

	s.mustSend(trust, "alice@example.org", "alice@example.org", "carol@example.org", letter("from alice"))
	for user, want := range map[string]string{"bob@example.org": "235", "nobody@example.org": "535", "*@example.org": "535", "alice)(mail=*": "535"} {
		if code := s.authAs(user, "secret"); code != want {
			t.Errorf("%s: %s, want %s", user, code, want)
		}
	}
	open := func(user string) *talker {
		t.Helper()
		c, err := s.as(trust, user)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		return c
	}
	alice, bob := open("alice@example.org"), open("bob@example.org")

	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	installed.AwaitStopped(t, d.cmd.Process.Pid)
	s.undecided("while the directory hangs", "alice@example.org", "nobody@example.org")
	if err := alice.do("451", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error(err)
	}
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	if _, err := alice.submit("alice@example.org", "carol@example.org", letter("afterwards")); err != nil {
		t.Error(err)
	}

	_ = d.cmd.Process.Kill()
	<-d.ended
	if code := s.authAs("alice@example.org", "secret"); code != "454" {
		t.Errorf("while the directory is down: %s", code)
	}
	// A configuration can be loaded meanwhile.
	if status, body := s.load(s.caddyfile(l)); status != 200 {
		t.Error(status, body)
	}
	d.run()
	if code := s.authAs("alice@example.org", "secret"); code != "235" {
		t.Errorf("when the directory is back: %s", code)
	}

	d.modify("dn: uid=bob,dc=example,dc=org\nchangetype: delete\n")
	if err := bob.do("421", "MAIL FROM:<bob@example.org>"); err != nil {
		t.Error("a user who is gone:", err)
	}
	if err := alice.do("250", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error(err)
	}
	s.logged("LDAP server does not answer", d.url)
}
