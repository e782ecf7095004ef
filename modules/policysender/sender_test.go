package policysender

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

func submission(t *testing.T, user, sender string, addresses ...string) *caddymsa.Submission {
	t.Helper()
	s := &caddymsa.Submission{Entry: &queue.Entry{Sender: sender}, Identity: caddymsa.Identity{User: user}}
	if sender != "" {
		a, err := mailaddr.Parse(sender, true)
		if err != nil {
			t.Fatal(err)
		}
		s.Sender = a
	}
	for _, text := range addresses {
		p, err := mailaddr.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		s.Identity.Addresses = append(s.Identity.Addresses, p)
	}
	return s
}

func refused(err error) bool {
	var reply *smtp.SMTPError
	return errors.As(err, &reply) && reply.Code == 550 && reply.EnhancedCode == smtp.EnhancedCode{5, 7, 1}
}

//
func TestSender(t *testing.T) {
	p := &SenderIdentity{log: zap.NewNop()}
	for _, tt := range []struct {
		user, sender string
		addresses    []string
		ok           bool
	}{
		{"alice@example.org", "alice@example.org", nil, true},
		{"alice@example.org", "alice+tag@EXAMPLE.ORG", nil, true},
		{"alice@example.org", "Alice@example.org", nil, false}, // local parts compare exactly
		{"alice@example.org", "bob@example.org", nil, false},
		{"alice", "bob@example.org", []string{"@example.org"}, true},
		{"alice", "bob@sub.example.org", []string{"@example.org"}, false},
		{"alice", "bob@sub.example.org", []string{"*@*.example.org"}, true},
		{"alice", "bob@xn--bcher-kva.example", []string{"*@bücher.example"}, true},
		{"alice", "alice@example.org", nil, false},
		{"alice@example.org", "", nil, true},
	} {
		s := submission(t, tt.user, tt.sender, tt.addresses...)
		err := p.CheckSender(context.Background(), s)
		if tt.ok != (err == nil) || !tt.ok && !refused(err) {
			t.Errorf("%s as %s with %q: %v", tt.user, tt.sender, tt.addresses, err)
		}
		if want := tt.ok && tt.sender != ""; s.Entry.ReturnPath != want {
			t.Errorf("%s as %s: bounces may go there: %v, want %v", tt.user, tt.sender, s.Entry.ReturnPath, want)
		}
	}
}

//
func TestFrom(t *testing.T) {
	p := &SenderIdentity{log: zap.NewNop()}
	for _, tt := range []struct {
		header string
		ok     bool
	}{
		{"From: alice@example.org\r\n", true},
		{"from : \"A, lice\" <alice@example.org>\r\n", true},
		{"From: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?= <alice@example.org>\r\n", true},
		{"From: Alice\r\n <alice@example.org>\r\n", true},
		{"From: alice@example.org, bob@example.net\r\n", false},
		{"From: alice@example.org\r\nFrom: bob@example.net\r\n", false},
		{"no field\r\nFrom: bob@example.net\r\n", false},
		{"From: staff: alice@example.org, bob@example.net;\r\n", false},
		{"From: staff: alice@example.org;\r\n", true},
		{"From: nonsense\r\n", false},
		{"FROM:\r\n\tbob@example.net\r\n", false},
		{"Subject: From: bob@example.net\r\n", true},
		{"Subject: no From\r\n\r\nFrom: bob@example.net\r\n", true},
		{"From: " + strings.Repeat("x", maxFrom) + "\r\n", false},
		{"X: " + strings.Repeat("x", 9000) + "\r\nFrom: bob@example.net\r\n", false},
	} {
		m := &caddymsa.Message{Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(tt.header + "\r\nbody\r\n")), nil
		}}
		err := p.CheckMessage(context.Background(), submission(t, "alice@example.org", ""), m)
		if tt.ok != (err == nil) || !tt.ok && !refused(err) {
			t.Errorf("%.60q: %v", tt.header, err)
		}
	}
}

func TestOff(t *testing.T) {
	p := &SenderIdentity{Off: true, log: zap.NewNop()}
	s := submission(t, "alice", "bob@example.net")
	if err := p.CheckSender(context.Background(), s); err != nil || s.Entry.ReturnPath {
		t.Error(err, s.Entry.ReturnPath)
	}
}

// A user who may send as nobody is told of in the log, with what to add.
func TestNobody(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	p := &SenderIdentity{log: zap.New(core)}
	if err := p.CheckSender(context.Background(), submission(t, "alice", "alice@example.org")); !refused(err) {
		t.Error(err)
	}
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "addresses=") {
		t.Error(logs.All())
	}
}

func FuzzFrom(f *testing.F) {
	f.Add("From: alice@example.org\r\n\r\nbody")
	f.Add("Subject: x\r\n y\r\nfrom:\r\n <b@c>\r\n")
	p := &SenderIdentity{log: zap.NewNop()}
	f.Fuzz(func(t *testing.T, message string) {
		m := &caddymsa.Message{Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(message)), nil }}
		_ = p.CheckMessage(context.Background(), &caddymsa.Submission{Entry: &queue.Entry{}}, m)
	})
}
