package integration

import (
	"bytes"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// eximDir is where .ci/run unpacks Debian's Exim, which cannot be installed beside Postfix.
const eximDir = installed.EximDir

const eximConf = `exim_path = ` + eximDir + `/usr/sbin/exim4
exim_user = mail
exim_group = mail
spool_directory = $D/spool
log_file_path = $D/log/%slog
pid_file_path = $D/spool/pid
primary_hostname = relay.example.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = $PORT
keep_environment = LD_LIBRARY_PATH
host_lookup =
rfc1413_query_timeout = 0s
never_users =
tls_advertise_hosts = *
tls_certificate = $D/cert.pem
tls_privatekey = $D/key.pem
dsn_advertise_hosts = *
chunking_advertise_hosts =
auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  deny encrypted = *
       !authenticated = *
       message = authenticate first
  accept domains = example.net
         local_parts = bob : carol
  deny message = unknown user
begin routers
local:
  driver = accept
  local_parts = bob : carol : alice
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = $D/mail/$local_part_data
  create_directory
  delivery_date_add = false
  user = mail
  group = mail
begin retry
* * F,1h,1s
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{` + postfixUser + `}}{eq{$auth3}{` + postfixPass + `}}}}
  server_set_id = $auth2
`

// newExim is Exim with a certificate and a configuration, in which $D is its directory, to be run.
func newExim(t *testing.T, conf string) *daemon {
	t.Helper()
	needRoot(t)
	program := need(t, "exim")
	if _, err := user.Lookup("Debian-exim"); err != nil {
		installed.Lack(t, "exim4-daemon-light (unpacked by .ci/run)", err)
	}
	d := newDaemon(t, map[string]string{"mail/.keep": "", "spool/.keep": "", "log/.keep": "", "conf": conf},
		need(t, "env"), "LD_LIBRARY_PATH="+eximDir+"/usr/lib/x86_64-linux-gnu:"+os.Getenv("LD_LIBRARY_PATH"), program, "-C", "$D/conf", "-bdf", "-q1s")
	selfSigned(t, postfixName, filepath.Join(d.dir, "cert.pem"), filepath.Join(d.dir, "key.pem"))
	mail, err := user.Lookup("mail")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"chown", "-R", mail.Uid + ":" + mail.Gid, d.dir}, {"chown", "root:root", d.dir + "/conf"}, {"chmod", "644", d.dir + "/conf"}, {"chmod", "755", d.dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return d
}

// Exim as the next hop: over STARTTLS and AUTH, unaltered, with DSN parameters; what it refuses comes
// back; stopped and killed within a transaction, everything arrives.
func TestRelayExim(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	d := newExim(t, strings.ReplaceAll(eximConf, "$PORT", port(address)))
	d.serves = listening(address)
	d.run()
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := exec.Command("sh", "-c", "head -50 "+d.dir+"/log/*; ls -R "+d.dir+"/mail").CombinedOutput()
			t.Logf("%s", logs)
		}
	})
	s := start(t, layout{msa: `
	@far recipient_domain example.net
	deliver @far relay ` + address + ` {
		server_name ` + postfixName + `
		ca ` + d.dir + `/cert.pem
		auth ` + postfixUser + ` {env.RELAY_PASSWORD}
		timeouts {
			connect 10s
			command 10s
			data    10s
			end     10s
		}
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	queue {
		retry 300ms
	}`})
	trust := s.tlsConfig()
	s.mustSend(trust, "alice@example.org", "alice@example.org", "nobody@example.net", letter("refused"))
	if bounce := s.mail("alice@example.org", 1)[0]; !bytes.Contains(bounce, []byte("unknown user")) || !bytes.Contains(bounce, []byte("Remote-MTA: dns; ")) {
		t.Errorf("bounce:\n%s", bounce)
	}
	octets := "From: alice@example.org\r\nSubject: octets\r\n\r\n..dots\r\n.\xe9\xff\r\n\r\n"
	s.mustSend(trust, "alice@example.org", "alice@example.org", "carol@example.net", octets)
	copies := func(user, end string) (n int) {
		names, _ := filepath.Glob(d.dir + "/mail/" + user + "/new/*")
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil && bytes.HasSuffix(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")), []byte("\r\n"+end)) {
				n++
			}
		}
		return n
	}
	await(t, "what was submitted, unaltered", func() bool { return copies("carol", octets) == 1 })
	eximNotifies(t, s, d)
	tapped := newTap(t, "tcp", address)
	s = start(t, layout{msa: `
	deliver relay ` + tapped.listener.Addr().String() + ` {
		tls off
		timeouts {
			command 10s
			data    10s
			end     10s
		}
	}
	queue {
		retry 300ms
	}`})
	s.within(t, tapped, nextHop{
		signal: d.signal, again: func() { d.run() },
		copies: func(subject string) int { return copies("bob", letter(subject)) },
	}, "bob@example.net")
}

// eximNotifies asks for a notification of success, which Exim gives, having been told all that it takes, and which
// this server then does not.
func eximNotifies(t *testing.T, s *server, d *daemon) {
	t.Helper()
	c, err := s.as(s.tlsConfig(), "alice@example.org")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	err = all(
		func() error { return c.do("250", "MAIL FROM:<alice@example.org> RET=HDRS ENVID=qq+2B314") },
		func() error {
			return c.do("250", "RCPT TO:<carol@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;caroline+2Bx@example.net")
		},
	)
	if err == nil {
		_, err = c.data(letter("notify"))
	}
	if err != nil {
		t.Fatal(err)
	}
	var notification []byte
	await(t, "Exim's notification", func() bool {
		names, _ := filepath.Glob(d.dir + "/mail/alice/new/*")
		for _, name := range names {
			if notification, _ = os.ReadFile(name); bytes.Contains(notification, []byte("Action: delivered")) {
				return true
			}
		}
		return false
	})
	text := string(notification)
	for _, want := range []string{ // xtext stays as it is
		"Reporting-MTA: dns; relay.example.test", "Original-Envelope-ID: qq+2B314", "Original-Recipient: rfc822;caroline+2Bx@example.net", "Final-Recipient: rfc822;carol@example.net", "Subject: notify",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("Exim's notification lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "Hello.") { // RET=HDRS
		t.Errorf("Exim's notification has the body:\n%s", text)
	}
	for _, m := range s.mail("alice@example.org", 1) { // the bounce of before
		if bytes.Contains(m, []byte("Action: delivered")) || bytes.Contains(m, []byte("Action: relayed")) {
			t.Errorf("this server notified, too:\n%s", m)
		}
	}
}
