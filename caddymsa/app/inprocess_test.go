package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
)

// The tests of this package load configurations into this process, with modules that stand for
// what is outside of the app: a backend, policies, a sink, a spool in memory. They are the only
// ones here that are slow enough to wait for, so those that need the real binary, real clients and
// real disks are in integration.

// patience is how long anything may take: longer than any pause of a busy machine.
const patience = 60 * time.Second

// instance is a configuration in force, and what a test asks of it.
type instance struct {
	t    *testing.T
	dir  string // short, for sockets
	tls  *tls.Config
	mail *world
}

// instances number the worlds, so that modules of one test never meet another's.
var instances atomic.Int64

// newInstance makes a certificate and a world without a configuration.
func newInstance(t *testing.T) *instance {
	t.Helper()
	dir, err := os.MkdirTemp("", "msa") // t.TempDir may be too long a name for sockets
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{t: t, dir: dir, mail: newWorld(fmt.Sprint(instances.Add(1)))}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		in.mail.forget()
		_ = os.RemoveAll(dir)
	})
	in.certificate("cert", "msa.example.org")
	return in
}

// certificate writes NAME.pem and NAME.key, and trusts them.
func (in *instance) certificate(name string, hosts ...string) {
	in.t.Helper()
	in.validity(name, func(*x509.Certificate) {}, hosts...)
}

// validity is certificate with something changed.
func (in *instance) validity(name string, change func(*x509.Certificate), hosts ...string) {
	in.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		in.t.Fatal(err)
	}
	in.certify(name, key, change, hosts...)
}

// certify is validity with a key of any kind.
func (in *instance) certify(name string, key crypto.Signer, change func(*x509.Certificate), hosts ...string) {
	in.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		in.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		in.t.Fatal(err)
	}
	in.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	in.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	pool := x509.NewCertPool()
	cert, _ := x509.ParseCertificate(der)
	pool.AddCert(cert)
	in.tls = &tls.Config{RootCAs: pool, ServerName: hosts[0]}
}

func (in *instance) write(name string, content []byte) string {
	in.t.Helper()
	path := filepath.Join(in.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		in.t.Fatal(err)
	}
	return path
}

// config is a whole configuration with one server; edit changes the server, and the app.
func (in *instance) config(edit ...func(server, app map[string]any)) []byte {
	in.t.Helper()
	world := in.mail.id
	server := map[string]any{
		"hostname": "msa.example.org",
		"listen":   []string{"unix/" + in.dir + "/starttls"}, "listen_tls": []string{"unix/" + in.dir + "/tls"},
		"certificates": []any{map[string]any{"certificate": in.dir + "/cert.pem", "key": in.dir + "/cert.key"}},
		"auth":         map[string]any{"backends": []any{map[string]any{"module": "fake", "world": world}}},
		"routes":       []any{map[string]any{"sink": map[string]any{"module": "fake", "world": world, "name": "sink"}}},
	}
	app := map[string]any{
		"servers":      map[string]any{"main": server},
		"spool":        map[string]any{"module": "memory", "world": world},
		"grace_period": "5s",
	}
	for _, e := range edit {
		e(server, app)
	}
	b, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"listen": "unix/" + in.dir + "/admin", "config": map[string]any{"persist": false}},
		"storage": map[string]any{"module": "file_system", "root": in.dir + "/storage"},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"writer": map[string]any{"output": "file", "filename": in.dir + "/log", "roll": false}, "encoder": map[string]any{"format": "json"}, "level": "DEBUG"}}},
		"apps":    map[string]any{"msa": app, "events": map[string]any{"subscriptions": []any{map[string]any{"handlers": []any{map[string]any{"handler": "fake", "world": world}}}}}},
	})
	if err != nil {
		in.t.Fatal(err)
	}
	return b
}

// load puts a configuration in force.
func (in *instance) load(edit ...func(server, app map[string]any)) {
	in.t.Helper()
	if err := caddy.Load(in.config(edit...), true); err != nil {
		in.t.Fatal(err)
	}
}

// refuses loads a configuration that has to be refused, with all of the texts in the error.
func (in *instance) refuses(edit func(server, app map[string]any), texts ...string) {
	in.t.Helper()
	err := caddy.Load(in.config(edit), true)
	if err == nil {
		in.t.Errorf("loaded; want an error with %q", texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			in.t.Errorf("%v\nhas no %q", err, text)
		}
	}
}

// with sets a field of the server.
func with(name string, value any) func(server, app map[string]any) {
	return func(server, _ map[string]any) { server[name] = value }
}

// withApp sets a field of the app.
func withAppField(name string, value any) func(server, app map[string]any) {
	return func(_, app map[string]any) { app[name] = value }
}

// log is what was logged so far.
func (in *instance) log() string {
	b, _ := os.ReadFile(in.dir + "/log")
	return string(b)
}

// logged waits for a line that has all of the texts.
func (in *instance) logged(texts ...string) string {
	in.t.Helper()
	var found string
	in.await("a log line with "+strings.Join(texts, ", "), func() bool {
		for line := range strings.Lines(in.log()) {
			ok := true
			for _, text := range texts {
				ok = ok && strings.Contains(line, text)
			}
			if ok {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

func (in *instance) await(what string, is func() bool) {
	in.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			in.t.Fatalf("no %s; log:\n%s", what, in.log())
		}
	}
}

// admin asks the admin API, and returns status and body.
func (in *instance) admin(method, path, body string) (int, string) {
	in.t.Helper()
	return in.adminWith(http.Header{}, method, path, body)
}

// adminWith is admin with header fields.
func (in *instance) adminWith(header http.Header, method, path, body string) (int, string) {
	in.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", in.dir+"/admin")
	}}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Do(request)
	for end := time.Now().Add(patience); isCut(err) && time.Now().Before(end); time.Sleep(time.Millisecond) {
		// It got to the admin server of the configuration before, which was just being closed.
		request.Body, _ = request.GetBody()
		answer, err = client.Do(request)
	}
	if err != nil {
		in.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// isCut tells of a connection that was closed before there was an answer.
func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// dialogue is a raw SMTP client that fails its test when something else comes than it expects.
type dialogue struct {
	in *instance
	nc net.Conn
	r  *bufio.Reader
}

// connect is greeted, on the port where TLS begins with STARTTLS.
func (in *instance) connect() *dialogue { return in.dial("starttls", nil) }

// connectTLS is greeted within TLS.
func (in *instance) connectTLS() *dialogue { return in.dial("tls", in.tls) }

func (in *instance) dial(socket string, config *tls.Config) *dialogue {
	in.t.Helper()
	nc, err := net.Dial("unix", in.dir+"/"+socket)
	if err != nil {
		in.t.Fatal(err)
	}
	if config != nil {
		nc = tls.Client(nc, config)
	}
	c := &dialogue{in: in, nc: nc, r: bufio.NewReader(nc)}
	in.t.Cleanup(func() { _ = c.nc.Close() })
	c.want("220 msa.example.org ESMTP")
	return c
}

// session is EHLO and a login, within TLS.
func (in *instance) session() *dialogue {
	in.t.Helper()
	c := in.connectTLS()
	c.do("EHLO client.example", "250")
	c.do("AUTH PLAIN "+b64("\x00alice@example.org\x00secret"), "235 2.7.0")
	return c
}

func (c *dialogue) starttls() {
	c.in.t.Helper()
	c.do("STARTTLS", "220")
	c.nc = tls.Client(c.nc, c.in.tls)
	c.r = bufio.NewReader(c.nc)
}

func (c *dialogue) send(octets string) {
	c.in.t.Helper()
	_ = c.nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.nc, octets); err != nil {
		c.in.t.Fatalf("sending %.60q: %v", octets, err)
	}
}

// reply reads all lines of a reply.
func (c *dialogue) reply() string {
	c.in.t.Helper()
	_ = c.nc.SetDeadline(time.Now().Add(patience))
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			c.in.t.Fatalf("after %q: %v\n%s", all.String(), err, c.in.log())
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(all.String(), "\r\n")
		}
	}
}

func (c *dialogue) want(prefix string) string {
	c.in.t.Helper()
	reply := c.reply()
	if !strings.HasPrefix(reply, prefix) {
		c.in.t.Fatalf("got %q, want %q", reply, prefix)
	}
	return reply
}

func (c *dialogue) do(line, prefix string) string {
	c.in.t.Helper()
	c.send(line + "\r\n")
	return c.want(prefix)
}

// closed waits for the end of the connection.
func (c *dialogue) closed() {
	c.in.t.Helper()
	_ = c.nc.SetDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.in.t.Errorf("not closed, but %q, %v", rest, err)
	}
}

// letter is a whole message.
const letter = "From: alice@example.org\r\nSubject: Hello\r\n\r\nHow are you?\r\n"

// envelope is MAIL and RCPT.
func (c *dialogue) envelope(to ...string) {
	c.in.t.Helper()
	c.do("MAIL FROM:<alice@example.org>", "250 2.1.0 Ok")
	for _, r := range to {
		c.do("RCPT TO:<"+r+">", "250 2.1.5 Ok")
	}
}

// submit sends the letter and returns its queue id.
func (c *dialogue) submit(to ...string) string {
	c.in.t.Helper()
	c.envelope(to...)
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	return queueID(c.want("250 2.0.0 Ok: queued as "))
}

func queueID(reply string) string {
	_, id, _ := strings.Cut(reply, " as ")
	return id
}

// jsonOf decodes an answer.
func jsonOf[T any](t *testing.T, body string) (v T) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader([]byte(body))).Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}
