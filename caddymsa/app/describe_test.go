package app

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// What is told of a server is what its sockets are bound to, in the configuration in charge, and the mechanisms that it offers.
func TestDescribe(t *testing.T) {
	in := newInstance(t)
	if _, ok := running.Server[running.Described]("main"); ok {
		t.Error("a server is there before Start")
	}
	in.load(with("listen_tls", []string{"unix/" + in.dir + "/tls", "127.0.0.1:0"}))
	srv, ok := running.Server[running.Described]("main")
	if !ok {
		t.Fatal("no server")
	}
	d := srv.Describe()
	if d.Hostname != "msa.example.org" || len(d.Listeners) != 1 || !d.Listeners[0].ImplicitTLS || d.Listeners[0].Address.Port() == 0 || !slices.Contains(d.Mechanisms, "PLAIN") {
		t.Errorf("%+v", d)
	}
	status, body := in.admin(http.MethodGet, "/msa/dns", "")
	answer := jsonOf[adminapi.DNS](t, body)
	if status != http.StatusOK || len(answer.Servers) != 1 {
		t.Fatal(status, body)
	}
	s := answer.Servers[0]
	if s.Name != "main" || s.Hostname != "msa.example.org" || len(s.Ports) != 1 || !s.Ports[0].ImplicitTLS || len(s.Certificates) != 1 || len(s.Certificates[0].SPKI) != 64 || !s.Certificates[0].KeepsKey {
		t.Errorf("%s", body)
	}
	in.load()
	if srv, ok := running.Server[running.Described]("main"); !ok || len(srv.Describe().Listeners) != 0 {
		t.Error("the configuration before is told of")
	}
}

// A socket of tcp6 is told from one that has IPv4 too, though both are on [::].
func TestDescribeIPv6(t *testing.T) {
	probe, err := net.Listen("tcp6", "[::]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	_ = probe.Close()
	in := newInstance(t)
	in.load(with("listen_tls", []string{"tcp6/:0", "tcp/127.0.0.1:0"}))
	srv, ok := running.Server[running.Described]("main")
	if !ok {
		t.Fatal("no server")
	}
	for _, l := range srv.Describe().Listeners {
		if l.IPv6Only != l.Address.Addr().Is6() {
			t.Errorf("%+v", l)
		}
	}
}

// Where clients are shown one certificate or another, as they can take, all of them are told of: whoever checks by DANE must find
// the one that it is shown.
func TestDescribeCertificates(t *testing.T) {
	in := newInstance(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	in.certify("rsa", rsaKey, func(*x509.Certificate) {}, "msa.example.org")
	in.certificate("other", "other.example.org") // which nobody sees who asks for the hostname
	var files []any
	for _, name := range []string{"cert", "rsa", "other"} {
		files = append(files, map[string]any{"certificate": in.dir + "/" + name + ".pem", "key": in.dir + "/" + name + ".key"})
	}
	in.load(with("listen_tls", []string{"127.0.0.1:0"}), with("certificates", files))
	_, body := in.admin(http.MethodGet, "/msa/dns", "")
	var have []string
	for _, c := range jsonOf[adminapi.DNS](t, body).Servers[0].Certificates {
		have = append(have, c.SPKI)
	}
	var want []string
	for _, name := range []string{"cert", "rsa"} {
		pair, err := tls.LoadX509KeyPair(in.dir+"/"+name+".pem", in.dir+"/"+name+".key")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("%x", sha256.Sum256(pair.Leaf.RawSubjectPublicKeyInfo)))
	}
	if !slices.Equal(have, want) {
		t.Errorf("%q, not %q", have, want)
	}
}
