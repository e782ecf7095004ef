package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// pebble is Let's Encrypt's ACME server for tests, with a DNS server that knows every
// name as 127.0.0.1. It validates by HTTP-01 and TLS-ALPN-01.
type pebble struct {
	t                 testing.TB
	address           string
	httpPort, tlsPort string // where it looks for answers to challenges
	roots             *x509.CertPool
	client            *http.Client // trusts its HTTPS
}

// pebbleModule is built in a scratch module, so that its dependencies are not ours.
const pebbleModule = "github.com/letsencrypt/pebble/v2"

// startPebble runs a CA whose profiles are lifetimes by name.
func startPebble(t testing.TB, lifetimes map[string]time.Duration) *pebble {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"go", "mod", "init", "scratch"},
		{"go", "get", pebbleModule + "/cmd/pebble@v2.10.1", pebbleModule + "/cmd/pebble-challtestsrv@v2.10.1"},
	} {
		if err := fetch(dir, nil, args...); err != nil {
			installed.Lack(t, "("+pebbleModule+", of the Go module proxy)", err)
		}
	}
	for _, program := range []string{"pebble", "pebble-challtestsrv"} {
		if err := link(dir, nil, filepath.Join(dir, program), pebbleModule+"/cmd/"+program); err != nil {
			t.Fatal(err)
		}
	}
	management, dns := freeAddress(t), freeAddress(t)
	p := &pebble{t: t, address: freeAddress(t), httpPort: port(freeAddress(t)), tlsPort: port(freeAddress(t))}
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, "localhost", certificate, key)
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: poolOf(t, certificate), ServerName: "localhost"}}}

	profiles := make(map[string]any)
	for name, lifetime := range lifetimes {
		profiles[name] = map[string]any{"description": name, "validityPeriod": lifetime / time.Second}
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": p.address, "managementListenAddress": management, "certificate": certificate, "privateKey": key,
		"httpPort": json.Number(p.httpPort), "tlsPort": json.Number(p.tlsPort), "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "profiles": profiles,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	p.run(dir, "./pebble-challtestsrv", "-dnsserver", dns, "-management", freeAddress(t), "-defaultIPv6", "", "-http01", "", "-https01", "", "-doh", "", "-tlsalpn01", "")
	p.run(dir, "./pebble", "-strict", "-config", "config.json", "-dnsserver", dns)
	await(t, "the ACME server", func() bool {
		root, err := p.get("https://" + management + "/roots/0")
		p.roots = x509.NewCertPool()
		return err == nil && p.roots.AppendCertsFromPEM(root)
	})
	await(t, "the DNS server", func() bool {
		nc, err := net.Dial("tcp", dns)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
	return p
}

func (p *pebble) run(dir, program string, args ...string) {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(dir, program), args...)
	cmd.Dir = dir
	// Each renewal is validated anew, and at once.
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0")
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("log of %s:\n%s", program, log)
		}
	})
}

func (p *pebble) get(url string) ([]byte, error) {
	resp, err := p.client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// front is a door to the ACME server that lets edit change what it answers to GET. It returns the directory's URL, and writes to rootFile
// whom to trust for it.
func (p *pebble) front(t testing.TB, rootFile string, edit func(path string, answer map[string]any)) (directory string) {
	t.Helper()
	srv := httptest.NewTLSServer(&httputil.ReverseProxy{
		Transport: p.client.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: p.address})
			r.Out.Host = r.In.Host // of which its URLs are made
		},
		ModifyResponse: func(resp *http.Response) error {
			if resp.Request.Method != http.MethodGet || resp.StatusCode != http.StatusOK {
				return nil
			}
			var answer map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				return err
			}
			_ = resp.Body.Close()
			edit(resp.Request.URL.Path, answer)
			b, err := json.Marshal(answer)
			resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			resp.Header.Set("Content-Length", fmt.Sprint(len(b)))
			return err
		},
	})
	t.Cleanup(srv.Close)
	if err := os.WriteFile(rootFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return srv.URL + "/dir"
}

// poolOf trusts the certificates of a file.
func poolOf(t testing.TB, file string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return pool
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
