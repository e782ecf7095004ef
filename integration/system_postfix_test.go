package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// postfix is a next hop: Debian's Postfix with a configuration and a queue of its own,
// which takes mail over STARTTLS from those who log in (Dovecot checks) and delivers
// bob@example.net's into a Maildir. It knows nobody else.
type postfix struct {
	t       testing.TB
	dir     string
	address string
	clear   string // takes mail for its own from anybody, without TLS
	program string
}

const (
	postfixName = "relay.example.test" // in its certificate
	postfixUser = "gateway@example.net"
	postfixPass = "relay-secret"
)

func startPostfix(t testing.TB) *postfix {
	t.Helper()
	needRoot(t)
	p := &postfix{t: t, program: need(t, "postfix"), address: freeAddress(t), clear: freeAddress(t)}
	dovecot := need(t, "dovecot")
	dir, err := os.MkdirTemp("", "msa-postfix") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	p.dir = dir
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, sub := range []string{"etc", "spool", "data", "mail", "dovecot/run"} {
		p.must(os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	p.must(os.Chmod(dir, 0o755))
	p.command("chown", "postfix", dir+"/data")
	p.command("chown", "nobody", dir+"/mail")
	selfSigned(t, postfixName, p.certificate(), filepath.Join(dir, "key.pem"))
	p.write("dovecot/users", postfixUser+":{PLAIN}"+postfixPass+"\n")
	p.write("dovecot/dovecot.conf", dovecotForPostfix)
	p.write("etc/main.cf", mainCF)
	p.write("etc/master.cf", masterCF)
	cmd := exec.Command(dovecot, "-F", "-c", dir+"/dovecot/dovecot.conf")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.must(cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	await(t, "Dovecot's socket", func() bool {
		_, err := os.Stat(dir + "/dovecot/auth")
		return err == nil
	})
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			log, _ := os.ReadFile(dir + "/maillog")
			t.Logf("log of Postfix:\n%s", log)
		}
	})
	p.start()
	return p
}

func (p *postfix) certificate() string { return filepath.Join(p.dir, "cert.pem") }

func (p *postfix) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *postfix) command(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (p *postfix) write(name, text string) {
	p.t.Helper()
	p.must(os.WriteFile(filepath.Join(p.dir, name), []byte(strings.NewReplacer("$DIR", p.dir, "$ADDRESS", p.address, "$CLEAR", p.clear).Replace(text)), 0o644))
}

func (p *postfix) start() {
	p.t.Helper()
	p.command(p.program, "-c", p.dir+"/etc", "start")
	await(p.t, "Postfix", func() bool {
		c, err := connect("tcp", p.address, nil)
		if err != nil {
			return false
		}
		defer c.close()
		return c.do("221", "QUIT") == nil
	})
}

// master is the process id of the master, which leads the group of all of them; 0 when there is none.
func (p *postfix) master() int {
	text, err := os.ReadFile(p.dir + "/spool/pid/master.pid")
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if pid <= 1 || syscall.Kill(pid, 0) != nil {
		return 0
	}
	command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if strings.TrimSpace(string(command)) != "master" {
		return 0
	}
	return pid
}

// signal goes to all of its processes.
func (p *postfix) signal(sig syscall.Signal) {
	p.t.Helper()
	if pid := p.master(); pid != 0 {
		if err := syscall.Kill(-pid, sig); !errors.Is(err, syscall.ESRCH) { // which has ended meanwhile
			p.must(err)
		}
		if sig == syscall.SIGSTOP {
			installed.AwaitStopped(p.t, pid)
		}
	}
}

// stop ends it, as it was or in the midst of SIGSTOP.
func (p *postfix) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT)
	await(p.t, "the end of Postfix", func() bool {
		nc, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = nc.Close()
		}
		return err != nil && p.master() == 0
	})
}

// mail returns bob's messages, once there are n, as Postfix stored them (with LF)
// below the fields that it put on top.
func (p *postfix) mail(n int) [][]byte {
	p.t.Helper()
	var names []string
	await(p.t, fmt.Sprintf("%d messages in Postfix's Maildir", n), func() bool {
		names, _ = filepath.Glob(p.dir + "/mail/bob/new/*")
		return len(names) >= n
	})
	var messages [][]byte
	for _, name := range names {
		message, err := os.ReadFile(name)
		p.must(err)
		messages = append(messages, message)
	}
	return messages
}

// submitted is a message below all fields that servers put on top of it, with the line ends it
// had when it was submitted.
func submitted(message []byte) []byte {
	for {
		name, _, _ := bytes.Cut(message, []byte(":"))
		switch string(name) {
		case "Return-Path", "X-Original-To", "Delivered-To", "Received":
		default:
			return bytes.ReplaceAll(message, []byte("\n"), []byte("\r\n"))
		}
		_, message, _ = bytes.Cut(message, []byte("\n"))
		for len(message) > 0 && (message[0] == ' ' || message[0] == '\t') {
			_, message, _ = bytes.Cut(message, []byte("\n"))
		}
	}
}

// selfSigned writes a certificate that is its own root, and its key.
func selfSigned(t testing.TB, name, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const dovecotForPostfix = `base_dir = $DIR/dovecot/run
log_path = $DIR/dovecot/log
protocols =
listen = 127.0.0.1
ssl = no
auth_mechanisms = plain login digest-md5 scram-sha-256
disable_plaintext_auth = no
auth_realms = example.net
passdb {
  driver = passwd-file
  args = username_format=%u $DIR/dovecot/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}
service auth {
  unix_listener $DIR/dovecot/auth {
    mode = 0660
    user = postfix
  }
}
`

const mainCF = `compatibility_level = 3.6
queue_directory = $DIR/spool
data_directory = $DIR/data
maillog_file_prefixes = $DIR
maillog_file = $DIR/maillog
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.example.test
mydestination =
mynetworks =
alias_maps =
local_recipient_maps =
smtp_dns_support_level = disabled
local_header_rewrite_clients =
message_size_limit = 104857600
virtual_mailbox_domains = example.net
virtual_mailbox_base = $DIR/mail
virtual_mailbox_maps = inline:{bob@example.net=bob/}
virtual_mailbox_limit = 0
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_cert_file = $DIR/cert.pem
smtpd_tls_key_file = $DIR/key.pem
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = $DIR/dovecot/auth
smtpd_client_restrictions = permit_sasl_authenticated, reject
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
`

const masterCF = `$ADDRESS inet n - n - 20 smtpd
$CLEAR inet n - n - 20 smtpd -o smtpd_tls_security_level=none -o smtpd_sasl_auth_enable=no -o smtpd_client_restrictions= -o smtpd_relay_restrictions=reject_unauth_destination
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
`
