package integration

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck/dnstest"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop/hoptest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// machines differ in these: the tests' own has no time service, for one.
var ofMachine = []string{"clock", "limits"}

// Nothing is wrong with a server that does all as it should, a log-in with each mechanism, a submission into a route that
// discards. A password that is wrong is tried once, and blocks nobody.
func TestDoctorHealthy(t *testing.T) {
	t.Parallel()
	behind := "balanced.example.test"
	s := newServer(t)
	s.write("Caddyfile", s.caddyfile(layout{global: "msa " + behind + " {\n listen " + freeAddress(t) + "\n listen_tls " + freeAddress(t) + `
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.1/32
			}
		}
		tls internal
		auth {
			file $DIR/users.passwd
		}
		deliver discard
	}`, msa: `
	@away recipient_domain discard.example.net
	deliver @away discard
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`}))
	s.writeUsers("alice@example.org:{PLAIN}" + postfixPass + "\n")
	s.run()
	dns := dnstest.Serve(t, hostname+". A 127.0.0.1", behind+". A 127.0.0.1", fmt.Sprintf("_submission._tcp.example.org. SRV 0 1 %s %s.", port(s.starttls), hostname), fmt.Sprintf("_submissions._tcp.example.org. SRV 0 1 %s %s.", port(s.implicit), hostname),
		`example.org. TXT "v=spf1 ip4:192.0.2.1 -all"`)
	args := []string{"--address", s.admin, "--server", hostname, "--ca", s.root(), "--resolver", dns, "--domain", "example.org", "--egress", "192.0.2.1", "--user", "alice@example.org"}
	found := examined(t, append(args, "--thorough", "--submit", "bob@discard.example.net")...)
	for _, f := range found {
		if f.Level == doctor.Wrong || f.Level == doctor.Warn && !slices.Contains(ofMachine, f.Check) && !strings.Contains(f.Text, "less than 5 % of the disk") {
			t.Errorf("%+v", f)
		}
	}
	for check, text := range map[string]string{
		"R-01": "", "login": "alice@example.org logs in with SCRAM-SHA-256, DIGEST-MD5, PLAIN, LOGIN", "submission": "a message is taken", "spf": "it allows 192.0.2.1", "srv": "mail programs find the server",
		"backends": "it answers: 1 users", "routes": "messages are discarded", "spool": "it takes messages", "certificate": "R-03", "R-04": "", "R-05": "", "R-06": "", "R-07": "", "R-08": "", "R-09": "", "R-10": "", "dns": "127.0.0.1",
	} {
		if check == "R-01" {
			check, text = "ports", "R-01"
		}
		named(t, found, "nothing", check, doctor.OK, text)
	}
	s.await("the certificate behind the balancer", func() bool {
		found = examined(t, "--address", s.admin, "--server", behind, "--ca", s.root(), "--resolver", dns)
		return !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Level == doctor.Wrong })
	})
	named(t, found, "nothing", "proxies", doctor.OK, "clients' addresses are taken from [127.0.0.1/32]")
	named(t, found, "nothing", "ports", doctor.OK, "R-01")
	for range 12 { // more than the throttle lets pass
		examined(t, "--address", s.admin, "--ca", s.root(), "--resolver", dns, "--quiet")
	}
	named(t, examined(t, append(args, "--submit", "bob@nowhere@")...), "a bad recipient", "submission", doctor.Wrong, "the recipient bob@nowhere@ is refused")
	s.writeUsers("alice@example.org:{PLAIN}another\n")
	s.await("the other password", func() bool {
		return slices.ContainsFunc(examined(t, args...), func(f doctor.Finding) bool {
			return f.Check == "login" && strings.Contains(f.Text, "cannot log in with SCRAM-SHA-256: 535")
		})
	})
}

// Faults of this server, of what it depends on and of DNS: each is named, with a remedy.
func TestDoctorFaults(t *testing.T) {
	small := hoptest.New(t, func(h *hoptest.Hop) { h.Extensions = []string{"SIZE 1000", "8BITMIME"} })
	stranger := hoptest.New(t, nil)
	closed := hoptest.New(t, func(h *hoptest.Hop) {
		h.Auth = map[string]func() gosasl.Server{"PLAIN": func() gosasl.Server {
			return gosasl.NewPlainServer(func(string, string, string) error { return sasl.ErrCredentials })
		}}
	})
	t.Setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
	t.Setenv("HOP_PASSWORD", "wrong")
	s := newServer(t)
	signed(t, "other.example.test", time.Now().Add(-time.Hour), filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem"))
	dkim := filepath.Join(s.dir, "dkim.pem")
	ed25519Key(t, dkim)
	s.write("users.passwd", "alice@example.org:{PLAIN}secret\nbob@example.org:{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=\n")
	for _, name := range []string{"key.pem", "dkim.pem", "users.passwd"} {
		if err := os.Chmod(filepath.Join(s.dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.write("Caddyfile", s.caddyfile(layout{tls: "tls $DIR/cert.pem $DIR/key.pem {\n protocols tls1.2 tls1.2\n }", auth: `auth {
		mechanisms SCRAM-SHA-256 PLAIN
		file $DIR/users.passwd
		http http://` + freeAddress(t) + `/
		oauth http://` + freeAddress(t) + `/ {
			audience mail
		}
	}
	listener_wrappers {
		proxy_protocol {
			allow 10.0.0.0/7
		}
	}`, msa: `
	policy dkim {
		key example.org s1 $DIR/dkim.pem
		key example.net s2 $DIR/dkim.pem
	}
	@a recipient_domain a.example
	deliver @a relay ` + freeAddress(t) + `
	@b recipient_domain b.example
	deliver @b relay ` + stranger.Addr + `
	@c recipient_domain c.example
	deliver @c relay ` + small.Addr + ` {
		ca ` + small.Root + `
	}
	@d recipient_domain d.example
	deliver @d relay ` + closed.Addr + ` {
		ca ` + closed.Root + `
		auth gateway {env.HOP_PASSWORD}
	}
	@e recipient_domain e.example
	deliver @e lmtp unix/$DIR/nowhere
	@f recipient_domain f.example
	deliver @f maildir $DIR/users.passwd/{msa.recipient}
	@g recipient_domain g.example
	deliver @g webhook http://` + freeAddress(t) + `/
	@h recipient_domain h.example
	deliver @h pipe $DIR/program
	@i recipient_domain i.example
	deliver @i directory $DIR/users.passwd/x
	@j recipient_domain j.example
	deliver @j nats nats://` + freeAddress(t) + ` {
		subject mail
	}
	@k recipient_domain k.example
	deliver @k s3 http://` + freeAddress(t) + ` bucket {
		access_key a
		secret_key {env.HOP_PASSWORD}
		path_style
	}
	copy directory $DIR/users.passwd/y
	policy clamav ` + freeAddress(t) + `
	policy milter ` + freeAddress(t) + `
	policy http http://` + freeAddress(t) + `/
	deliver discard
	limits {
		message_size 1MiB
	}`}))
	s.program("program", "#!/bin/sh\n")
	s.run()
	if err := os.Remove(filepath.Join(s.dir, "program")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"spool/core": "", "left/store/CURRENT": "", "caddy/msa/spools/" + ledgerName("file:"+s.dir+"/left"): "file:" + s.dir + "/left\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(s.dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		s.write(name, text)
	}
	if err := os.Chmod(filepath.Join(s.dir, "spool"), 0o755); err != nil {
		t.Fatal(err)
	}
	dns := dnstest.Serve(t, hostname+". CNAME gone.example.test.", `s1._domainkey.example.org. TXT "v=DKIM1; k=ed25519; p=MTIz"`, `example.org. TXT "v=spf1 -all"`, "_submission._tcp.example.org. SRV 0 1 587 old.example.test.",
		`_mta-sts.example.org. TXT "v=STSv1; id=1"`)
	found := examined(t, "--address", s.admin, "--resolver", dns, "--egress", "192.0.2.1", "--user", "alice@example.org", "--submit", "x@example.com")
	allNamed(t, found, []planted{
		{"certificate has expired", "certificate", doctor.Wrong, "has expired"},
		{"certificate of another name", "certificate", doctor.Wrong, "but for other.example.test"},
		{"certificate signed by itself", "certificate", doctor.Wrong, "is signed by itself"},
		{"no TLS 1.3", "tls", doctor.Warn, "does not speak TLS 1.3"},
		{"no DIGEST-MD5", "R-09", doctor.Warn, "not DIGEST-MD5"},
		{"small messages", "R-08", doctor.Warn, "limited to 1048576 octets"},
		{"a password would go to a stranger", "login", doctor.Skipped, "no password is sent"},
		{"users without SCRAM", "mechanisms", doctor.Warn, "1 of 2 users of backend file"},
		{"backend down", "backends", doctor.Wrong, "backend http: it cannot tell"},
		{"open users file", "files", doctor.Warn, "users.passwd can be read by everybody"},
		{"open key", "files", doctor.Warn, "key.pem can be read by everybody"},
		{"open DKIM key", "files", doctor.Warn, "dkim.pem can be read by everybody"},
		{"next hop down", "routes", doctor.Wrong, "connection refused"},
		{"next hop's CA", "routes", doctor.Wrong, "unknown authority"},
		{"next hop takes less", "routes", doctor.Warn, "of up to 1000 octets"},
		{"next hop's password", "routes", doctor.Wrong, "535"},
		{"mail store down", "routes", doctor.Wrong, "no such file"},
		{"Maildir below a file", "routes", doctor.Wrong, "not a directory"},
		{"webhook down", "routes", doctor.Wrong, "webhook"},
		{"program gone", "routes", doctor.Wrong, "program"},
		{"directory below a file", "routes", doctor.Wrong, "route directory: messages wait"},
		{"copy's directory below a file", "routes", doctor.Wrong, "copy copy-directory: messages wait"},
		{"broker down", "routes", doctor.Wrong, "route nats: messages wait"},
		{"store down", "routes", doctor.Wrong, "route s3: messages wait"},
		{"clamd down", "policies", doctor.Wrong, "clamd cannot be reached"},
		{"milter down", "policies", doctor.Wrong, "milter cannot be reached"},
		{"policy's service down", "policies", doctor.Wrong, "web service cannot be reached"},
		{"issuer down", "backends", doctor.Wrong, "cannot be reached"},
		{"wide balancers", "proxies", doctor.Wrong, "from 10.0.0.0/7 can pretend"},
		{"proxy in the environment", "proxies", doctor.Warn, "HTTPS_PROXY is set"},
		{"open spool", "spool", doctor.Warn, "can look into it (mode 0755)"},
		{"file in the spool", "spool", doctor.Warn, `"core"`},
		{"left spool", "spool", doctor.Wrong, "was left behind"},
		{"no address", "dns", doctor.Wrong, "has no address"},
		{"another DKIM key", "dkim", doctor.Wrong, "another key"},
		{"no DKIM record", "dkim", doctor.Wrong, "there is no such record"},
		{"SPF", "spf", doctor.Wrong, "from 192.0.2.1"},
		{"no SPF", "spf", doctor.Warn, "no SPF record"},
		{"SRV elsewhere", "srv", doctor.Wrong, "old.example.test"},
		{"no SRV", "srv", doctor.Warn, "do not find the server"},
		{"MTA-STS without a page", "mta-sts", doctor.Wrong, "mta-sts.example.org"},
	})
	// What the console asks: the server looks at itself.
	var answer struct {
		Findings []doctor.Finding `json:"findings"`
	}
	status, text := s.adminRequest(http.MethodPost, "/msa/doctor", `{"outside": true, "resolver": "`+dns+`"}`)
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != http.StatusOK {
		t.Fatal(status, err, text)
	}
	named(t, answer.Findings, "certificate, by the admin API", "certificate", doctor.Wrong, "has expired")
	named(t, answer.Findings, "route, by the admin API", "routes", doctor.Wrong, "connection refused")
	// Nobody is there any more: whose are the ports?
	s.stop()
	named(t, examined(t, "--address", s.admin), "no server", "server", doctor.Wrong, "is Caddy running")
}

// ed25519Key writes a DKIM key.
func ed25519Key(t *testing.T, file string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ledgerName is the file by which a spool is remembered.
func ledgerName(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

// In the console the servers look at themselves: for who may act, with what is wrong first.
func TestDoctorConsole(t *testing.T) {
	t.Parallel()
	c := startConsole(t, "actions")
	if status, body := c.web("doctor", nil); status != http.StatusOK || !strings.Contains(body, `value="examine">Look`) || strings.Contains(body, "<table") {
		t.Errorf("%d %s", status, body)
	}
	status, body := c.web("doctor", url.Values{"do": {"examine"}, "server": {hostname}, "domains": {"example.invalid"}})
	safe(t, "doctor", body)
	for _, want := range []string{"messages wait: 127.0.0.1:9", "connection refused", "start the next hop", "R-10", `<span class="chip bad">wrong</span>`, `<span class="chip good">ok</span>`, "example.invalid", "<option selected>" + hostname} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d: no %q in %s", status, want, body)
		}
	}
	if strings.Index(body, "messages wait") > strings.Index(body, "R-10") {
		t.Error("what is wrong is not first")
	}
	for name, try := range map[string]func() (int, string){
		"another site": func() (int, string) { return c.web("doctor", url.Values{"do": {"examine"}}, fromElsewhere) },
		"nobody": func() (int, string) {
			return c.web("../open/doctor", url.Values{"do": {"examine"}}, func(r *http.Request) { r.Header.Del("Authorization") })
		},
	} {
		if status, body := try(); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if _, body := c.web("doctor", url.Values{"do": {"examine"}, "server": {"nobody"}}); !strings.Contains(body, "there is no server") {
		t.Error(body)
	}
}
