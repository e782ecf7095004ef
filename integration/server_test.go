package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// server is the binary at work.
type server struct {
	t        testing.TB
	dir      string // everything it writes
	starttls string // address
	implicit string
	admin    string
	binary   string
	env      []string // more of its environment, from the next run on
	cmd      *exec.Cmd
	exited   chan struct{}
	log      *logBuffer
}

// hostname of the servers under test. No public CA would certify it.
const hostname = "msa.example.test"

// users of the servers under test: alice has every kind of credential, as a clear password.
const users = `alice@example.org:{PLAIN}secret
alice:{DIGEST-MD5.realm=msa.example.test}HA1::::::addresses=alice@example.org
bob@example.net:{PLAIN}hunter2
`

// layout is what a test says of its server. In its text, $DIR is the server's
// directory, $STARTTLS, $IMPLICIT and $ADMIN are its addresses.
type layout struct {
	msa               string // lines in the msa block beside listen, tls, auth and spool
	auth              string // in place of the default auth block
	global            string // lines beside the msa block
	listen, listenTLS string // addresses beside $STARTTLS and $IMPLICIT
	tls               string // in place of: tls internal
	users             string // in place of users
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), binary: binary, log: new(logBuffer)}
	s.starttls, s.implicit, s.admin = freeAddress(t), freeAddress(t), freeAddress(t)
	return s
}

// start runs a server and waits until it greets.
func start(t testing.TB, l layout) *server {
	t.Helper()
	s := newServer(t)
	s.write("Caddyfile", s.caddyfile(l))
	s.writeUsers(l.users)
	s.run()
	return s
}

func (s *server) writeUsers(text string) {
	if text == "" {
		text = strings.ReplaceAll(users, "HA1", digestHA1("alice", hostname, "secret"))
	}
	s.write("users.passwd", text)
}

func (s *server) caddyfile(l layout) string {
	if l.tls == "" {
		l.tls = "tls internal"
	}
	if l.auth == "" {
		l.auth = "auth {\n\t\tfile $DIR/users.passwd\n\t}"
	}
	if !strings.Contains(l.msa, "timeouts") { // on a busy machine the 10 s of a handshake may be few
		l.msa += "\n\ttimeouts {\n\t\thandshake 1m\n\t}"
	}
	if !strings.Contains(l.msa, "deliver") {
		l.msa += "\n\tdeliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}"
	}
	return s.expand(fmt.Sprintf(`{
	admin $ADMIN
	persist_config off
	skip_install_trust
	storage file_system $DIR/caddy
	grace_period 5s
	%s
	msa %s {
	listen     $STARTTLS %s
	listen_tls $IMPLICIT %s
	%s
	%s
	%s
	spool file $DIR/spool
	grace_period 5s
	}
}
`, l.global, hostname, l.listen, l.listenTLS, l.tls, l.auth, l.msa))
}

func (s *server) expand(text string) string {
	return strings.NewReplacer("$DIR", s.dir, "$STARTTLS", s.starttls, "$IMPLICIT", s.implicit, "$ADMIN", s.admin).Replace(text)
}

func (s *server) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// program writes a file that is to be run. Nothing is started meanwhile: what is, has the file open for writing until it has become
// another program, and so long the kernel runs no such file (ETXTBSY).
func (s *server) program(name, text string) {
	s.t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o700); err != nil { //nolint:gosec // it is run
		s.t.Fatal(err)
	}
}

// run starts the process; it may be called again after kill.
func (s *server) run() {
	s.t.Helper()
	s.cmd = exec.Command(s.binary, "run", "--config", filepath.Join(s.dir, "Caddyfile"))
	s.cmd.Dir = s.dir
	s.cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	s.cmd.Env = append(s.cmd.Env, s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	s.exited = exited
	cmd := s.cmd
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		if s.t.Failed() {
			s.t.Logf("log of the server:\n%s", s.log)
		}
	})
	s.await("the greeting", func() bool {
		select {
		case <-exited:
			s.t.Fatalf("the server ended:\n%s", s.log)
		default:
		}
		nc, err := net.Dial("tcp", s.starttls)
		if err != nil {
			return false
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		line, _ := bufio.NewReader(nc).ReadString('\n')
		return strings.HasPrefix(line, "220 ")
	})
	s.await("the certificate", func() bool {
		conn, err := tls.Dial("tcp", s.implicit, &tls.Config{InsecureSkipVerify: true, ServerName: hostname})
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// kill ends the process as a power switch would.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// stop ends the process as an init system does.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	<-s.exited
}

// await polls until ok, for what another process does in its own time.
func (s *server) await(what string, ok func() bool) {
	s.t.Helper()
	await(s.t, what, ok)
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	awaitFor(t, 2*patience, what, ok)
}

// awaitProbe is for what waits until a destination that was down is tried again.
func awaitProbe(t testing.TB, what string, ok func() bool) {
	t.Helper()
	awaitFor(t, 4*patience, what, ok)
}

func awaitFor(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	wait := 10 * time.Millisecond
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(wait) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		wait = min(wait*5/4, 100*time.Millisecond) // looking may be work
	}
}

// load gives the server a configuration by the admin API and returns the answer.
func (s *server) load(caddyfile string) (status int, answer string) {
	s.t.Helper()
	return s.request(http.MethodPost, "/load", caddyfile, http.Header{"Content-Type": {"text/caddyfile"}, "Cache-Control": {"must-revalidate"}})
}

// mustLoad is load of what is right.
func (s *server) mustLoad(caddyfile string) {
	s.t.Helper()
	if status, answer := s.load(caddyfile); status != http.StatusOK {
		s.t.Fatal(status, answer)
	}
}

// adminRequest asks the admin API in JSON.
func (s *server) adminRequest(method, path, body string) (status int, answer string) {
	s.t.Helper()
	header := make(http.Header)
	if body != "" {
		if !json.Valid([]byte(body)) {
			s.t.Fatal("not JSON:", body)
		}
		header.Set("Content-Type", "application/json")
	}
	return s.request(method, path, body, header)
}

// request asks the admin API. It comes again when its connection is reset or ends before there is an answer: a load
// before it may have closed the socket whose backlog it was in, or the connection that it came by, be it before or while it was written to.
func (s *server) request(method, path, body string, header http.Header) (status int, answer string) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		req, err := http.NewRequest(method, "http://"+s.admin+path, strings.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header = header
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			b, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil {
				s.t.Fatal(err)
			}
			return resp.StatusCode, string(b)
		}
		cut := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) || strings.Contains(err.Error(), "server closed idle connection")
		if !cut || time.Now().After(end) {
			s.t.Fatal(err)
		}
	}
}

// root is the certificate file of the server's internal CA.
func (s *server) root() string {
	return filepath.Join(s.dir, "caddy/pki/authorities/local/root.crt")
}

// tlsConfig trusts the server's internal CA and nobody else.
func (s *server) tlsConfig() *tls.Config {
	s.t.Helper()
	pem, err := os.ReadFile(s.root())
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: hostname}
}

// mail returns the messages in the Maildir of an address, once there are n.
func (s *server) mail(address string, n int) [][]byte {
	s.t.Helper()
	local, domain, _ := strings.Cut(strings.ToLower(address), "@") // names fold where they become a path
	var messages [][]byte
	s.await(fmt.Sprintf("%d messages for %s", n, address), func() bool {
		names, _ := filepath.Glob(filepath.Join(s.dir, "mail", domain, local, "new", "*"))
		if len(names) < n {
			return false
		}
		messages = nil
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				return false
			}
			messages = append(messages, b)
		}
		return true
	})
	return messages
}

// untraced is a delivered message below its trace fields.
func untraced(t testing.TB, message []byte) []byte {
	t.Helper()
	for _, field := range []string{"Return-Path:", "Delivered-To:", "Received:"} {
		if !bytes.HasPrefix(message, []byte(field)) {
			continue
		}
		_, message, _ = bytes.Cut(message, []byte("\r\n"))
		for len(message) > 0 && (message[0] == ' ' || message[0] == '\t') {
			_, message, _ = bytes.Cut(message, []byte("\r\n"))
		}
	}
	return message
}

// freeAddress is one that nobody is given until it is used, be it now and then only: its port is
// none that the system hands out by itself, nor another test's.
func freeAddress(t testing.TB) string {
	t.Helper()
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+nextPort.Add(1)%12000)
		if ln, err := net.Listen("tcp", address); err == nil {
			_ = ln.Close()
			return address
		}
	}
}

var nextPort = func() *atomic.Uint32 {
	n := new(atomic.Uint32)
	n.Store(uint32(os.Getpid()) * 7) // other runs of these tests begin elsewhere
	return n
}()

// logBuffer keeps what a process says.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
