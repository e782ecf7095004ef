package policysize

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
)

func open(t testing.TB, most conf.Amount) *Size {
	t.Helper()
	p := &Size{Max: most}
	if err := p.Provision(msatest.Context(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

//
func TestConformance(t *testing.T) {
	fits := "Subject: x\r\n\r\n" + strings.Repeat("x", 1000-14)
	msatest.Policy(t, func(t testing.TB) any { return open(t, "1000") },
		msatest.PolicyCase{Name: "small"},
		msatest.PolicyCase{Name: "just", Message: fits},
		msatest.PolicyCase{Name: "one too many", Message: fits + "x", Code: 552, Status: smtp.EnhancedCode{5, 3, 4}, Rule: "max"},
	)
}

// A block is not passed over in silence.
func TestCaddyfileBlock(t *testing.T) {
	err := new(Size).UnmarshalCaddyfile(caddyfile.NewTestDispenser("size 10MiB {\n anything\n}"))
	if err == nil || !strings.Contains(err.Error(), "anything") {
		t.Error(err)
	}
}

// What SIZE= says is refused at once; nothing said is nothing refused.
func TestDeclared(t *testing.T) {
	p := open(t, "1000")
	for size, ok := range map[int64]bool{0: true, 1000: true, 1001: false, 1 << 62: false} {
		s := msatest.NewSubmission("alice", "alice@example.org")
		s.DeclaredSize = size
		err := p.CheckSender(context.Background(), s)
		if ok != (err == nil) || !ok && !errors.As(err, new(*caddymsa.Refusal)) {
			t.Errorf("%d: %v", size, err)
		}
	}
	if (&Size{}).Provision(msatest.Context(t)) == nil {
		t.Error("no limit, no error")
	}
}
