package integration

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
	"github.com/caddy-msa/caddy-msa/modules/authoauth/idp"
)

// people is a directory whose user alice@example.org has application passwords that are held here.
type people struct {
	name, backend string // block in the Caddyfile
	attribute     string // of alice, as the directory has it; empty: none is configured
	password      string // alice's own; empty: none
	disable       func() // takes alice away
	stop          func() // has nobody answer
}

// Users of every directory may have application passwords: which they are is kept here, and who the user is and whether it still
// stands is the directory's word, at each login and before each message.
func TestAppPasswordsOfDirectories(t *testing.T) {
	t.Parallel()
	t.Run("ldap", func(t *testing.T) {
		t.Parallel()
		d := startDirectory(t)
		appPasswordsOf(t, people{name: "ldap", attribute: "Liddell", password: "secret",
			backend: "ldap " + d.url + " {\n base dc=example,dc=org\n user_attributes mail\n attributes sn\n timeout 30s\n}",
			disable: func() { d.modify("dn: uid=alice,dc=example,dc=org\nchangetype: delete\n") },
			stop: func() {
				_ = d.cmd.Process.Kill()
				<-d.ended
			}})
	})
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		users := map[string]webUser{"alice@example.org": {"secret": "secret", "fingerprint": "1", "attributes": map[string]string{"sn": "Liddell"}}}
		w := startWeb(t, users)
		appPasswordsOf(t, people{name: "http", attribute: "Liddell", password: "secret",
			backend: "http http://" + w.addr + "/msa {\n bearer {file." + w.dir + "/token}\n timeout 30s\n}",
			disable: func() {
				users["alice@example.org"]["disabled"] = true
				w.configure(users)
			},
			stop: func() { w.kill(w.cmd) }})
	})
	t.Run("dovecot", func(t *testing.T) {
		t.Parallel()
		const users = "alice@example.org:{PLAIN}secret:1000:1000::/home/alice::userdb_sn=Liddell\nbob@example.org:{PLAIN}hunter2:1000:1000::/home/bob::\n"
		d := startAuthDovecot(t, users)
		appPasswordsOf(t, people{name: "dovecot", attribute: "Liddell", password: "secret",
			backend: "dovecot " + d.dir + "/run/msa-client {\n userdb " + d.dir + "/run/msa-userdb\n attributes sn\n timeout 30s\n}",
			disable: func() { d.setUsers(strings.Replace(users, "alice@", "somebody.else@", 1)) },
			stop:    d.kill})
	})
}

func appPasswordsOf(t *testing.T, p people) {
	s := newServer(t)
	s.write("app-passwords", "# no users\n")
	s.write("Caddyfile", s.caddyfile(layout{auth: "auth {\n mechanisms SCRAM-SHA-256 DIGEST-MD5 PLAIN LOGIN\n throttle off\n app_passwords {\n file $DIR/app-passwords\n}\n" + p.backend + "\n}",
		msa: "\n\tdeliver maildir $DIR/mail/{msa.identity.attributes.sn}/{msa.recipient.local}"}))
	s.run()
	if out, err := s.user("app-password", "add", "nobody@example.org", "phone"); err == nil || !strings.Contains(out, "nobody@example.org") {
		t.Errorf("an application password of nobody: %v\n%s", err, out)
	}
	add := func(label string) string {
		t.Helper()
		out, err := s.user("app-password", "add", "alice@example.org", label, "--scheme", "SCRAM-SHA-256,DIGEST-MD5", "--realm", hostname)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(out)
	}
	phone, tablet := add("phone"), add("tablet")
	byAPI := func(action, body, want string) string {
		t.Helper()
		status, answer := s.adminRequest("POST", "/msa/user-actions/"+action, body)
		if status != 200 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s", action, status, answer)
		}
		return answer
	}
	made := byAPI("add-app-password", `{"user": "ALICE@example.org", "label": "api", "expires": "2999-01-01", "allow_nets": ["127.0.0.0/8", "::1"]}`, `"user":"alice@example.org","label":"api","secret":"`)
	_, made, _ = strings.Cut(made, `"secret":"`)
	made, _, _ = strings.Cut(made, `"`)
	if code := s.authAs("alice@example.org", made); code != "235" {
		t.Error("made by the admin API:", code)
	}
	byAPI("revoke-app-password", `{"user": "alice@example.org", "label": "API"}`, `"user":"alice@example.org"`)
	if code := s.authAs("alice@example.org", made); code != "535" {
		t.Error("revoked by the admin API:", code)
	}
	login := func(client gosasl.Client) *talker {
		t.Helper()
		c, err := connect("tcp", s.implicit, s.tlsConfig())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		if err = all(func() error { return c.do("250", "EHLO client.example.org") }, func() error { return c.auth(client, func() {}) }); err != nil {
			t.Fatal(err)
		}
		return c
	}
	scram, err := sasl.NewSCRAMClient("alice@example.org+phone", phone)
	if err != nil {
		t.Fatal(err)
	}
	one := login(gosasl.NewPlainClient("", "alice@example.org", phone))
	for _, c := range []*talker{one, login(sasl.NewLoginClient("alice@example.org+phone", phone)), login(scram), login(sasl.NewDigestMD5Client("alice@example.org", phone, "", hostname))} {
		id, err := c.submit("alice@example.org", "bob@example.net", letter("app"))
		if err != nil {
			t.Fatal(err)
		}
		s.logged("message accepted", `"app_password":"phone"`, `"user":"alice@example.org"`, id)
	}
	s.mail(p.attribute+"/bob", 4)
	other := login(gosasl.NewPlainClient("", "alice@example.org", tablet))
	if p.password != "" {
		if code := s.authAs("alice@example.org", p.password); code != "235" {
			t.Error("with the directory's own password:", code)
		}
	}
	if code := s.authAs("alice@example.org", "guess"); code != "535" {
		t.Error("with a guess:", code)
	}
	if out, err := s.user("show", "alice@example.org"); err != nil || !strings.Contains(out, "phone") || !strings.Contains(out, "tablet") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := s.user("disable", "alice@example.org"); err == nil || !strings.Contains(out, "is one of "+p.name) {
		t.Errorf("disabled here, who lives elsewhere: %v\n%s", err, out)
	}
	if out, err := s.user("app-password", "revoke", "alice@example.org", "phone"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := one.do("421", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error("revoked:", err)
	}
	if _, err := other.submit("alice@example.org", "bob@example.net", letter("app")); err != nil {
		t.Error("the other one:", err)
	}
	p.disable()
	await(t, "the directory to know no alice", func() bool { return s.authAs("alice@example.org", tablet) == "535" })
	if err := other.do("421", "MAIL FROM:<alice@example.org>"); err != nil {
		t.Error("who is gone from the directory:", err)
	}
	p.stop()
	if code := s.authAs("alice@example.org", tablet); code != "454" {
		t.Error("while the directory does not answer:", code)
	}
	s.logged("could not be decided", p.name)
}

// user runs caddy msa user and returns what it says, to people only if it fails.
func (s *server) user(args ...string) (string, error) {
	cmd := exec.Command(binary, append(append([]string{"msa", "user"}, args...), "--address", s.admin)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return string(out) + said.String(), err
	}
	return string(out), nil
}

// Of an OpenID provider's users nobody can be asked: they are as the table of application passwords has them, in which
// they can be disabled.
func TestAppPasswordsOfOAuth(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	go func() { _ = idp.Serve(address) }()
	await(t, "the provider", func() bool {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	oauth := "oauth http://" + address + " {\n audience " + idp.Audience + "\n timeout 30s\n}"
	s := newServer(t)
	s.write("app-passwords", "bob@example.org:::::::nologin\n")
	s.write("Caddyfile", s.caddyfile(layout{auth: "auth {\n throttle off\n app_passwords {\n file $DIR/app-passwords\n unchecked\n}\n" + oauth + "\n}",
		msa: "\n\tdeliver discard"}))
	s.run()
	if out, err := s.user("app-password", "add", idp.Email, "phone"); err == nil || !strings.Contains(out, idp.Email) {
		t.Errorf("without --new: %v\n%s", err, out)
	}
	out, err := s.user("app-password", "add", idp.Email, "phone", "--new")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	secret := strings.TrimSpace(out)
	c := s.open(t, idp.Email, secret)
	id, err := c.submit(idp.Email, "bob@example.net", letter("app"))
	if err != nil {
		t.Fatal(err)
	}
	s.logged("message accepted", `"app_password":"phone"`, id)
	token, err := idp.Token(address, false)
	if err != nil {
		t.Fatal(err)
	}
	send := exec.Command(binary, "msa", "send", "--server", s.implicit, "--tls", "implicit", "--server-name", hostname, "--ca", s.root(),
		"--user", idp.Email, "--mechanism", "OAUTHBEARER", "--to", "bob@example.net")
	send.Env = append(send.Environ(), "MSA_TOKEN="+token)
	if out, err := send.CombinedOutput(); err != nil {
		t.Errorf("with a token: %v\n%s", err, out)
	}
	if out, err := s.user("disable", idp.Email); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := c.do("421", "MAIL FROM:<"+idp.Email+">"); err != nil {
		t.Error("disabled:", err)
	}
	if code := s.authAs(idp.Email, secret); code != "535" {
		t.Error("disabled:", code)
	}
	s.write("wrong", strings.Replace(s.caddyfile(layout{auth: "auth {\n app_passwords {\n file $DIR/app-passwords\n}\n" + oauth + "\n}"}), "$DIR", s.dir, -1))
	if out, err := exec.Command(binary, "adapt", "--validate", "--adapter", "caddyfile", "--config", s.dir+"/wrong").CombinedOutput(); err == nil || !strings.Contains(string(out), "oauth cannot look users up") {
		t.Errorf("nobody checks the users, and nobody says so: %v\n%s", err, out)
	}
}
