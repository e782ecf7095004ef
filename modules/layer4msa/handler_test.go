package layer4msa

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/mholt/caddy-l4"
	"github.com/mholt/caddy-l4/layer4"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

const (
	name     = "msa.example.test"
	patience = time.Minute // no test waits for it
)

// app stands for the msa app, which is tested with this handler in integration/.
type app struct{}

func (app) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa", New: func() caddy.Module { return new(app) }}
}
func (app) ServerNames() []string { return []string{name} }
func (app) Start() error          { return nil }
func (app) Stop() error           { return nil }

// forge has layer 4 believe that the connection runs in TLS, as a handshake in another branch of a tee would.
type forge struct{}

func (forge) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.forge", New: func() caddy.Module { return new(forge) }}
}

func (forge) Handle(cx *layer4.Connection, next layer4.Handler) error {
	cx.SetVar(layer4.TLSConnectionStatesVarName, []*tls.ConnectionState{{HandshakeComplete: true, Version: tls.VersionTLS13}})
	return next.Handle(cx)
}

// drain is a branch that reads.
type drain struct{}

func (drain) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.drain", New: func() caddy.Module { return new(drain) }}
}

func (drain) Handle(cx *layer4.Connection, _ layer4.Handler) error {
	_, err := io.Copy(io.Discard, cx)
	return err
}

func init() {
	caddy.RegisterModule(new(app))
	caddy.RegisterModule(new(drain))
	caddy.RegisterModule(new(forge))
}

// server is a running server that says what it was handed, reads a line and half closes.
type server struct{}

func (server) ServeConn(c running.Handed) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	half := c.Conn.(interface{ CloseWrite() error })
	_, _ = fmt.Fprintf(c, "tls=%t implicit=%t ip=%s line=%q err=%v\n", c.TLS != nil, c.Implicit, strings.Split(c.RemoteAddr().String(), ":")[0], line, err)
	_ = half.CloseWrite()
	_, _ = io.Copy(io.Discard, c) // until the client has seen that it was half closed
}

// load runs caddy-l4 with these handlers in one route and returns its address.
func load(t *testing.T, matchers string, handlers ...string) (network, address string) {
	t.Helper()
	address = filepath.Join(t.TempDir(), "l4")
	return "unix", loadOn(t, "unix/"+address, matchers, handlers...)
}

func loadOn(t *testing.T, listen, matchers string, handlers ...string) string {
	t.Helper()
	cert, key := selfSigned(t)
	config := fmt.Sprintf(`{"admin": {"disabled": true}, "logging": {"logs": {"default": {"writer": {"output": "discard"}}}}, "apps": {"msa": {},
		"tls": {"certificates": {"load_pem": [{"certificate": %q, "key": %q}]}},
		"layer4": {"servers": {"a": {"listen": [%q], "routes": [{%s "handle": [%s]}]}}}}}`, cert, key, listen, matchers, strings.Join(handlers, ","))
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	_, address, _ := strings.Cut(listen, "/")
	return address
}

func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// ask says something first and returns all that is answered until the server half closes.
func ask(t *testing.T, nc net.Conn, first string) string {
	t.Helper()
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(nc, first) // which a server that has answered already does not wait for
	answer, err := io.ReadAll(nc)
	if err != nil && len(answer) == 0 {
		t.Fatal(err)
	}
	return string(answer)
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	nc, err := net.DialTimeout(network, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

const (
	ours     = `{"handler": "msa", "server": "msa.example.test"}`
	tlsFirst = `{"handler": "tls"}`
	throttle = `{"handler": "throttle", "read_bytes_per_second": 1000000}`
	tee      = `{"handler": "tee", "branch": [{"handler": "drain"}]}`
	bySNI    = `"match": [{"tls": {"sni": ["msa.example.test"]}}],`
)

// A connection counts as TLS if octets go through TLS, whatever layer 4 says and whatever handlers have been put
// between: else the server has to hear STARTTLS, or the handshake that the client has begun.
func TestHandle(t *testing.T) {
	defer running.Push(nil, map[string]any{name: server{}})()
	subroute := func(handlers ...string) string {
		return `{"handler": "subroute", "routes": [{"handle": [` + strings.Join(handlers, ",") + `]}]}`
	}
	for what, c := range map[string]struct {
		matchers string
		handlers []string
		tls      bool
		want     string
	}{
		"clear text":                  {"", []string{ours}, false, `tls=false implicit=false ip=@ line="EHLO a\r\n" err=<nil>`},
		"clear text in a subroute":    {"", []string{subroute(ours)}, false, `tls=false implicit=false`},
		"clear text, throttled":       {"", []string{throttle, ours}, false, `tls=false implicit=false`},
		"TLS in another branch":       {"", []string{`{"handler": "forge"}`, ours}, false, `tls=false implicit=false`},
		"the variable in clear text":  {"", []string{`{"handler": "vars", "tls_connection_states": "1"}`, ours}, false, `tls=false implicit=false`},
		"tls before":                  {bySNI, []string{tlsFirst, ours}, true, `tls=true implicit=false ip=@ line="EHLO a\r\n" err=<nil>`},
		"tls before, throttled after": {bySNI, []string{tlsFirst, throttle, ours}, true, `tls=true implicit=false`},
		"tls before, a tee after":     {bySNI, []string{tlsFirst, tee, ours}, true, `tls=true implicit=false`},
		"throttled, then tls":         {bySNI, []string{throttle, tlsFirst, ours}, true, `tls=true implicit=false`},
		"tls in a subroute":           {bySNI, []string{subroute(tlsFirst, ours)}, true, `tls=true implicit=false`},
	} {
		t.Run(what, func(t *testing.T) {
			nc := connect(t, c.matchers, c.handlers...)
			if c.tls {
				nc = tls.Client(nc, &tls.Config{ServerName: name, InsecureSkipVerify: true})
			}
			if got := ask(t, nc, "EHLO a\r\n"); !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func connect(t *testing.T, matchers string, handlers ...string) net.Conn {
	t.Helper()
	network, address := load(t, matchers, handlers...)
	return dial(t, network, address)
}

// A client whose handshake was only looked at has it with the server, which gets it whole.
func TestImplicit(t *testing.T) {
	hellos := make(chan []byte, 1)
	defer running.Push(nil, map[string]any{name: taking(func(c running.Handed) {
		defer c.Close()
		b := make([]byte, 5)
		_, _ = io.ReadFull(c, b)
		if c.Implicit && c.TLS == nil {
			hellos <- b
		} else {
			hellos <- nil
		}
	})})()
	nc := tls.Client(connect(t, bySNI, ours), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if err := nc.Handshake(); err == nil {
		t.Error("a handshake with nobody")
	}
	if hello := <-hellos; !slices.Equal(hello[:min(2, len(hello))], []byte{22, 3}) {
		t.Errorf("the server got % x", hello)
	}
}

type taking func(running.Handed)

func (f taking) ServeConn(c running.Handed) { f(c) }

// With proxy_protocol before, the client is whose the header says.
func TestProxyProtocol(t *testing.T) {
	defer running.Push(nil, map[string]any{name: server{}})()
	nc := connect(t, "", `{"handler": "proxy_protocol"}`, ours)
	if got, want := ask(t, nc, "PROXY TCP4 192.0.2.9 192.0.2.1 4000 25\r\nEHLO a\r\n"), `tls=false implicit=false ip=192.0.2.9 line="EHLO a\r\n" err=<nil>`; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Apps start in any order: a client that comes before the server runs is told to come again, in the way in which
// it listens.
func TestBeforeStart(t *testing.T) {
	const want = "421 4.3.2 Service not available, try again later\r\n"
	if got := ask(t, connect(t, "", ours), "EHLO a\r\n"); got != want {
		t.Errorf("in clear text: %q", got)
	}
	within := tls.Client(connect(t, bySNI, tlsFirst, ours), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if got := ask(t, within, "EHLO a\r\n"); got != want {
		t.Errorf("within TLS: %q", got)
	}
	begun := tls.Client(connect(t, bySNI, ours), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	defer begun.Close()
	_ = begun.SetDeadline(time.Now().Add(patience))
	var noTLS tls.RecordHeaderError
	if err := begun.Handshake(); err == nil || errors.As(err, &noTLS) {
		t.Errorf("in a handshake: %v", err)
	}
}

// SMTP is a stream.
func TestNoPackets(t *testing.T) {
	called := false
	defer running.Push(nil, map[string]any{name: taking(func(running.Handed) { called = true })})()
	h := &Handler{Server: name}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if err := h.Handle(layer4.WrapConnection(datagrams{a}, nil, nil), nil); err == nil || called {
		t.Errorf("%v, served: %t", err, called)
	}
}

type datagrams struct{ net.Conn }

func (datagrams) LocalAddr() net.Addr { return &net.UDPAddr{} }

// What is wrong is said when the configuration is loaded.
func TestProvision(t *testing.T) {
	for handler, want := range map[string]string{
		`{"handler": "msa"}`:                    "server is required",
		`{"handler": "msa", "server": "other"}`: `there is no msa server "other" (there are: msa.example.test)`,
	} {
		config := `{"admin": {"disabled": true}, "apps": {"msa": {}, "layer4": {"servers": {"a": {"routes": [{"handle": [` + handler + `]}]}}}}}`
		if err := caddy.Validate(parse(t, config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", handler, err, want)
		}
	}
	if err := caddy.Validate(parse(t, `{"admin": {"disabled": true}, "apps": {"layer4": {"servers": {"a": {"routes": [{"handle": [`+ours+`]}]}}}}}`)); err == nil || !strings.Contains(err.Error(), "no msa app") {
		t.Error(err)
	}
}

func parse(t *testing.T, text string) *caddy.Config {
	t.Helper()
	config := new(caddy.Config)
	if err := json.Unmarshal([]byte(text), config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestUnmarshalCaddyfile(t *testing.T) {
	for text, ok := range map[string]bool{"msa a": true, "msa": false, "msa a b": false, "msa a {\n x\n}": false} {
		h := new(Handler)
		if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); (err == nil) != ok || ok && h.Server != "a" {
			t.Errorf("%q: %+v, %v", text, h, err)
		}
	}
}
