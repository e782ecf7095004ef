package ticket

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

// The suite has hostile messages, a broken disk, cancelled contexts and concurrent calls ready; the
// cases say what the policy is for.
func TestConformance(t *testing.T) {
	message := func(subject string) string {
		return "From: alice@example.org\r\nTo: bob@example.net\r\nSubject: " + subject + "\r\n\r\nHello.\r\n"
	}
	refused := func(name, subject string) msatest.PolicyCase {
		return msatest.PolicyCase{Name: name, Message: message(subject), Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "projects"}
	}
	msatest.Policy(t, open,
		msatest.PolicyCase{Name: "ticket", Message: message("Re: [OPS-12] disk")},
		msatest.PolicyCase{Name: "encoded", Message: message("=?utf-8?q?=5BSUP-7=5D_sch=C3=B6n?=")},
		refused("no ticket", "disk"),
		refused("other project", "[HR-1] raise"),
		refused("no number", "[OPS-] disk"),
	)
}

func TestField(t *testing.T) {
	m := msatest.NewMessage("Subject: [SUP-7] printer\r\n\r\n")
	err := msatest.Submit(t.Context(), open(t), msatest.NewSubmission("alice", "alice@example.org"), []string{"bob@example.net"}, m)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.Prepended()); got != "X-Ticket: SUP-7\r\n" {
		t.Errorf("prepended %q", got)
	}
}

func TestConfigurationErrors(t *testing.T) {
	for _, text := range []string{"ticket", "ticket OPS", "ticket {\n projects\n}", "ticket {\n projects ops\n}", "ticket {\n projects A\n projects B\n}"} {
		p := new(Ticket)
		err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil {
			err = p.Provision(caddy.Context{})
		}
		if err == nil {
			t.Errorf("%s: loads", text)
		}
	}
}

func open(t testing.TB) any {
	p := new(Ticket)
	if err := p.UnmarshalCaddyfile(caddyfile.NewTestDispenser("ticket {\n projects OPS SUP\n}")); err != nil {
		t.Fatal(err)
	}
	if err := p.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return p
}
