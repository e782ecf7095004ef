package app

import (
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
	if s.Name != "main" || s.Hostname != "msa.example.org" || len(s.Ports) != 1 || !s.Ports[0].ImplicitTLS || s.Certificate == nil || len(s.Certificate.SPKI) != 64 || !s.Certificate.KeepsKey {
		t.Errorf("%s", body)
	}
	in.load()
	if srv, ok := running.Server[running.Described]("main"); !ok || len(srv.Describe().Listeners) != 0 {
		t.Error("the configuration before is told of")
	}
}
