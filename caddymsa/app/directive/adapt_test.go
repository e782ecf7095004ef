package directive

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/app"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// stand is a module that stands for one of somebody's, and takes nothing in a Caddyfile.
type stand struct {
	id caddy.ModuleID
}

func (s *stand) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: s.id, New: func() caddy.Module { return &stand{s.id} }}
}

func (*stand) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return nothing(d) }

// domains is a matcher that takes words.
type domains []string

func (*domains) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.matchers.domain", New: func() caddy.Module { return new(domains) }}
}

func (d *domains) UnmarshalCaddyfile(t *caddyfile.Dispenser) error {
	t.Next()
	*d = append(*d, t.RemainingArgs()...)
	return nil
}

func init() {
	caddy.RegisterModule(new(domains))
	for _, id := range []caddy.ModuleID{"msa.auth.fake", "msa.policies.fake", "msa.sinks.fake", "msa.address_maps.fake", "msa.spools.memory"} {
		caddy.RegisterModule(&stand{id})
	}
}

func nothing(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// adapt turns the inside of an msa block into JSON.
func adapt(t *testing.T, block string) (string, error) {
	t.Helper()
	b, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n\tmsa msa.example.org {\n"+block+"\n\t}\n}\n"), map[string]any{"filename": "Caddyfile"})
	return string(b), err
}

// Every directive of the app, as JSON has it.
func TestAdapt(t *testing.T) {
	got, err := adapt(t, `
		listen     :587 unix//run/msa.sock
		listen_tls :465
		tls cert.pem key.pem
		auth {
			mechanisms DIGEST-MD5 PLAIN
			realms msa.example.org
			digest_hosts mail.example.org
			announce_before_tls DIGEST-MD5
			reauth 5m
			timeout 10s
			throttle {
				failures 5
				network_failures 50
				window 5m
				block 15m
				delay 2s
				except 192.0.2.0/24
			}
			fake
		}
		policy fake
		@ours domain example.org example.net
		policy @ours log_only fake
		deliver @ours fake {
			queue {
				retry 1m 2m
				expire 1d
				warn 1h
			}
			address_map fake
		}
		deliver fake {
			unqueued 30s
		}
		bounces fake
		received no_client
		newlines normalize
		limits {
			message_size 10MiB
			recipients 200
			priority 4
			connections 100
			connections_per_ip 10
			unauthenticated 50
			bad_commands 5
			auth_failures 2
		}
		timeouts {
			handshake 5s
			before_auth 30s
			command 2m
			data 1m
			session 1h
		}
		queue {
			retry 1m 5m
			expire 2d
			dead_letters 7d
			show_content
			workers 8
		}
		spool memory
		grace_period 10s`)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Apps struct {
			MSA app.App `json:"msa"`
		} `json:"apps"`
	}
	if err := json.Unmarshal([]byte(got), &config); err != nil {
		t.Fatal(err)
	}
	srv := config.Apps.MSA.Servers["msa.example.org"]
	if srv == nil {
		t.Fatal(got)
	}
	for what, ok := range map[string]bool{
		"listen":     len(srv.Listen) == 2,
		"tls":        len(srv.Certificates) == 1,
		"mechanisms": len(srv.Auth.Mechanisms) == 2,
		"throttle":   srv.Auth.Throttle.Failures == 5 && len(srv.Auth.Throttle.Except) == 1,
		"policies":   len(srv.Policies) == 2 && srv.Policies[1].LogOnly && len(srv.Policies[1].MatcherSetsRaw) == 1,
		"routes":     len(srv.Routes) == 2 && srv.Routes[0].AddressMapRaw != nil && srv.Routes[1].Unqueued != nil,
		"bounces":    srv.Bounces != nil,
		"limits":     srv.Limits.MessageSize == 10<<20 && srv.Limits.Priority == 4,
		"spool":      strings.Contains(string(config.Apps.MSA.SpoolRaw), "memory"),
	} {
		if !ok {
			t.Errorf("%s: %s", what, got)
		}
	}
}

// The remedy for an address in the place of the hostname is one that can be written as it is.
func TestHostnameRemedy(t *testing.T) {
	for hostname, want := range map[string]string{"::1": "listen [::1]:587", "[::1]": "listen [::1]:587", "[::1]:465": "listen [::1]:465", ":25": "listen :25"} {
		_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n\tmsa "+hostname+" {\n\t}\n}\n"), map[string]any{"filename": "Caddyfile"})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "[[") {
			t.Errorf("%s: %v, want %s", hostname, err, want)
		}
	}
}

// What cannot be meant is refused, with file and line.
func TestAdaptRefuses(t *testing.T) {
	for block, want := range map[string]string{
		"listne :587":                              "listne",
		"auth fake":                                "block",
		"deliver @none fake":                       "@none",
		"deliver":                                  "deliver",
		"deliver nonesuch":                         "nonesuch",
		"policy nonesuch":                          "nonesuch",
		"policy log_only @a fake":                  "a matcher comes before log_only, as in: policy @a log_only",
		"@a domain x\n@a domain y":                 "@a",
		"limits {\n recipients many\n}":            "many",
		"limits {\n message_size -3\n}":            "-3",
		"limits {\n colour red\n}":                 "colour",
		"timeouts {\n data soon\n}":                "soon",
		"timeouts {\n data 1s 2s\n}":               "data",
		"queue {\n retry\n}":                       "retry",
		"queue {\n colour\n}":                      "colour",
		"auth {\n throttle {\n colour red\n}\n}":   "colour",
		"received loudly":                          "received",
		"tls {\n nonesuch\n}":                      "nonesuch",
		"bounces fake {\n unqueued\n}":             "unqueued is for deliver",
		"copy fake {\n to \"\"\n}":                 "to: a value is empty",
		"copy fake {\n sender \"\"\n}":             "sender: a value is empty",
		"listen :1\n}\nmsa MSA.example.org {":      "there is an msa block for msa.example.org already",
		"grace_period ever":                        "ever",
		"spool memory\nspool memory":               "spool",
		"deliver fake {\n address_map nonesuch\n}": "nonesuch",
	} {
		_, err := adapt(t, block)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Caddyfile:") {
			t.Errorf("%q: %v, want %q with file and line", block, err, want)
		}
	}
}
