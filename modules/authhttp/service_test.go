//go:build linux

package authhttp

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

const (
	testBearer  = "token-5cc1e0bd"
	testHMACKey = "key-0f1e2d3c4b5a69788796a5b4c3d2e1f0"
)

// pyService is a web service in Python, over TLS with client certificates.
type pyService struct {
	t      testing.TB
	dir    string
	port   int
	config map[string]any
	cmd    *exec.Cmd
}

// startService starts the service with users, as testdata/service.py has them.
func startService(t testing.TB, users map[string]any) *pyService {
	t.Helper()
	python := installed.Need(t, "python3")
	s := &pyService{t: t, dir: t.TempDir()}
	s.file("verify_signature.py", []byte(snippet(t)))
	s.certificates()
	s.port = installed.FreePort(t)
	s.config = map[string]any{
		"port": s.port, "users": users, "bearer": testBearer, "hmac_key": testHMACKey,
		"ca": s.path("ca.pem"), "cert": s.path("server.pem"), "key": s.path("server.key"),
	}
	s.configure(nil)
	s.start(python)
	return s
}

// snippet is the Python in the documentation.
func snippet(t testing.TB) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/auth-http.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(page), "```python\n")
	code, _, closed := strings.Cut(code, "```")
	if !ok || !closed {
		t.Fatal("there is no Python in docs/auth-http.md")
	}
	return code
}

func (s *pyService) path(name string) string { return filepath.Join(s.dir, name) }

// file is written whole or not at all.
func (s *pyService) file(name string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name)+".new", content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.path(name)+".new", s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}

// configure changes the configuration, which counts from the next question on.
func (s *pyService) configure(change map[string]any) {
	s.t.Helper()
	for name, value := range change {
		s.config[name] = value
	}
	b, err := json.Marshal(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.file("config.json", b)
}

func (s *pyService) start(python string) {
	s.t.Helper()
	script, err := filepath.Abs("testdata/service.py")
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(python, "-B", script, s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	s.t.Cleanup(func() {
		s.kill(cmd)
		if s.t.Failed() {
			s.t.Logf("the service's output:\n%s", output.String())
		}
	})
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("the service does not come up:", err)
		}
	}
}

func (s *pyService) restart() { s.start(s.cmd.Path) }

func (s *pyService) kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func (s *pyService) signal(sig syscall.Signal) {
	_ = s.cmd.Process.Signal(sig)
	if sig == syscall.SIGSTOP {
		installed.AwaitStopped(s.t, s.cmd.Process.Pid)
	}
}

// questions are those that the service has been asked.
func (s *pyService) questions() (all []question) {
	s.t.Helper()
	f, err := os.Open(s.path("log.jsonl"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, q)
	}
	return all
}

// settings are those that the service wants.
func (s *pyService) settings() HTTP {
	return HTTP{
		Config: webcall.Config{
			URL: fmt.Sprintf("https://localhost:%d/msa", s.port), Bearer: testBearer, HMACKey: testHMACKey,
			TLSClient: conf.TLSClient{CA: []string{s.path("ca.pem")}, ClientCertificate: s.path("client.pem"), ClientKey: s.path("client.key")},
		},
		Timeout: conf.Duration(time.Minute), // on a machine with much else to do
	}
}

// certificates makes a CA, and what it signs for the service and for us.
func (s *pyService) certificates() {
	s.t.Helper()
	sign := func(name string, template, parent *x509.Certificate, by *ecdsa.PrivateKey) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			s.t.Fatal(err)
		}
		if by == nil {
			parent, by = template, key
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		template.Subject = pkix.Name{CommonName: name}
		template.SubjectKeyId = []byte(name)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
		if err != nil {
			s.t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			s.t.Fatal(err)
		}
		s.file(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		s.file(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
		return key
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	key := sign("ca", ca, nil, nil)
	usage := func(u x509.ExtKeyUsage) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"localhost"}, AuthorityKeyId: []byte("ca"),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{u},
		}
	}
	sign("server", usage(x509.ExtKeyUsageServerAuth), ca, key)
	sign("client", usage(x509.ExtKeyUsageClientAuth), ca, key)
	if _, err := tls.LoadX509KeyPair(s.path("client.pem"), s.path("client.key")); err != nil {
		s.t.Fatal(err)
	}
}

var caddyMu sync.Mutex

// provision loads the module as a configuration would.
func provision(t testing.TB, h *HTTP) (*HTTP, error) {
	t.Helper()
	caddyMu.Lock() // Caddy provisions one configuration at a time
	ctx := msatest.Context(t)
	caddyMu.Unlock()
	h.Timeout = cmp.Or(h.Timeout, conf.Duration(time.Minute)) // a busy machine does not keep the default of 5 seconds
	err := h.Provision(ctx)
	t.Cleanup(func() { _ = h.Cleanup() })
	return h, err
}

func must(t testing.TB, h HTTP) *HTTP {
	t.Helper()
	p, err := provision(t, &h)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// all runs everything at once, and waits.
func all(do ...func()) {
	var wg sync.WaitGroup
	for _, f := range do {
		wg.Go(f)
	}
	wg.Wait()
}
