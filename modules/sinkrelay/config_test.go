package sinkrelay

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

func TestHost(t *testing.T) {
	t.Setenv("MSA_HOST", "mail.example.net:2525")
	for _, c := range []struct{ host, tls, want string }{
		{"smtp.example.net:25", "", "smtp.example.net:25"},
		{"smtp.example.net", "", "smtp.example.net:587"},
		{"smtp.example.net", "required", "smtp.example.net:587"},
		{"smtp.example.net", "implicit", "smtp.example.net:465"},
		{"localhost:25", "off", "localhost:25"},
		{"::1", "off", "[::1]:587"},
		{"[::1]", "off", "[::1]:587"},
		{"[::1]:25", "off", "[::1]:25"},
		{"192.0.2.1", "", "192.0.2.1:587"},
		{"{env.MSA_HOST}", "", "mail.example.net:2525"},
		{"", "", "a host is required"},
		{"{env.MSA_NONE}", "", "MSA_NONE"},
		{":25", "", "not a host:port"},
		{"a b:25", "", "not a host:port"},
		{"*.example.net", "", "not a host:port"},
		{"a.example.net,b.example.net:25", "", "write several hosts with spaces between them"},
		{"smtp.example.net:smtp", "", "not a port number"},
		{"smtp.example.net:0", "", "not a port number"},
		{"smtp.example.net", "sometimes", "not one of required, implicit, opportunistic, off"},
	} {
		r := &Relay{Host: c.host, TLS: c.tls}
		err := r.Provision(caddyContext)
		have := ""
		if err == nil {
			have = r.hosts[0].Address
		}
		if err == nil && have != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %q, %v", c, have, err)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for want, r := range map[string]*Relay{
		"password would go in clear":                {TLS: "off", Auth: &Auth{Username: "a", Password: "b"}},
		"do nothing; remove them":                   {TLS: "off", TLSClient: conf.TLSClient{ServerName: "x"}},
		"a username and either a password or oauth": {Auth: &Auth{Username: "a"}},
		"unknown mechanism CRAM-MD5":                {Auth: &Auth{Username: "a", Password: "b", Mechanism: "CRAM-MD5"}},
		"password: ":                                {Auth: &Auth{Username: "a", Password: "{env.MSA_NONE}"}},
		"no such file":                              {TLSClient: conf.TLSClient{CA: []string{"/nowhere"}}},
		"holds no certificate":                      {TLSClient: conf.TLSClient{CA: []string{"config_test.go"}}},
		"must be positive":                          {IdleTimeout: -1},
		"not a host name":                           {Helo: "a\r\nRSET"},
	} {
		r.Host = "smtp.example.net"
		if err := r.Provision(caddyContext); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, have %v", want, err)
		}
	}
}

// Passwords are never printed, and stay in the configuration.
func TestRedaction(t *testing.T) {
	r := &Relay{Host: "localhost", Auth: &Auth{Username: "alice", Password: "s3cret", Mechanism: "PLAIN"}}
	if err := r.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{r, r.Auth, *r.Auth, r.Auth.Password, r.options, r.hosts[0]} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "s3cret") || strings.Contains(s, "733363726574") {
				t.Errorf("%T %s: %s", v, verb, s)
			}
		}
	}
	if b, _ := json.Marshal(r); !strings.Contains(string(b), `"password":"s3cret"`) {
		t.Errorf("configuration lost: %s", b)
	}
}

func TestCaddyfile(t *testing.T) {
	var r Relay
	err := r.UnmarshalCaddyfile(caddyfile.NewTestDispenser(`relay smtp.example.net:587 {
		tls implicit
		server_name mail.example.net
		ca a.pem b.pem
		insecure_skip_verify
		auth alice {env.PASSWORD} PLAIN
		helo msa.example.org
		connections 4
		idle_timeout 5s
		messages 10
		max_recipients 50
		timeouts {
			connect 1s
			greeting 5s
			command 2s
			data 3s
			end 4s
		}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	s := func(n int) conf.Duration { return conf.Duration(time.Duration(n) * time.Second) }
	want := Relay{
		Host: "smtp.example.net:587", TLS: "implicit",
		TLSClient: conf.TLSClient{ServerName: "mail.example.net", CA: []string{"a.pem", "b.pem"}}, InsecureSkipVerify: true,
		Auth: &Auth{Username: "alice", Password: "{env.PASSWORD}", Mechanism: "PLAIN"}, Helo: "msa.example.org",
		Connections: 4, IdleTimeout: s(5), Messages: 10, MaxRecipients: 50, Timeouts: Timeouts{Connect: s(1), Greeting: s(5), Command: s(2), Data: s(3), End: s(4)},
	}
	if !reflect.DeepEqual(&r, &want) {
		t.Errorf("have %+v", &r)
	}
	for _, in := range []string{
		"relay", "relay a b {\n mx now\n}", "relay a {\n x\n}", "relay a {\n tls\n}", "relay a {\n tls maybe\n}", "relay a {\n auth x\n}",
		"relay a {\n messages x\n}", "relay a {\n idle_timeout x\n}", "relay a {\n helo x\n helo y\n}",
		"relay a {\n timeouts 1s\n}", "relay a {\n timeouts {\n x 1s\n}\n}", "relay a {\n ca\n}", "relay a {\n messages 0\n}",
	} {
		if err := new(Relay).UnmarshalCaddyfile(caddyfile.NewTestDispenser(in)); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
}
