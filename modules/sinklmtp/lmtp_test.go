package sinklmtp

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/nexthop"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

var caddyContext = caddy.Context{Context: context.Background()}

// store is go-smtp's server in LMTP, a peer that is not of our making. Recipients that begin with
// full, unknown or gone get what they say.
type store struct {
	mu       sync.Mutex
	messages [][]byte
	kept     map[string]int // copies by recipient
	sessions int
}

func startStore(t testing.TB) (*store, *LMTP) {
	t.Helper()
	b := &store{kept: make(map[string]int)}
	server := smtp.NewServer(b)
	server.LMTP, server.Domain, server.EnableSMTPUTF8 = true, "store.example", true
	socket := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); _ = l.Close(); <-done }) // l: should Serve not have begun
	s := &LMTP{Address: "unix/" + socket}
	if err := s.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Cleanup() })
	return b, s
}

func (b *store) all() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([][]byte(nil), b.messages...)
}

func (b *store) copies(to string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept[to]
}

func (b *store) NewSession(c *smtp.Conn) (smtp.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions++
	return &session{store: b, conn: c.Conn()}, nil
}

type session struct {
	*store
	conn  net.Conn
	rcpts []string
}

func (s *session) Reset()                               { s.rcpts = nil }
func (s *session) Logout() error                        { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Data(io.Reader) error                 { panic("LMTP") }
func refused(code int, c smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: c, Message: text}
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "unknown") {
		return refused(550, smtp.EnhancedCode{5, 1, 1}, "unknown")
	}
	s.rcpts = append(s.rcpts, to)
	return nil
}

func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	m, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
	for _, to := range s.rcpts {
		switch {
		case strings.HasPrefix(to, "full"):
			status.SetStatus(to, refused(452, smtp.EnhancedCode{4, 2, 2}, "full"))
		case strings.HasPrefix(to, "gone"):
			status.SetStatus(to, refused(550, smtp.EnhancedCode{5, 2, 1}, "gone"))
		case strings.HasPrefix(to, "drop"):
			_ = s.conn.Close()
			return errors.New("dropped")
		default:
			s.kept[to]++
			status.SetStatus(to, nil)
		}
	}
	return nil
}

func TestConformance(t *testing.T) {
	msatest.Sink(t, func(t testing.TB) (queue.Sink, func() [][]byte) {
		b, s := startStore(t)
		return s, b.all
	})
}

// RFC 2033 section 4.2: each recipient has its own reply.
func TestEachRecipient(t *testing.T) {
	b, s := startStore(t)
	d := msatest.NewDelivery([]byte("Subject: x\r\n\r\n.\r\n"), "bob+list@example.org", "full@example.org", "unknown@example.org", "gone@example.org", `"a b"@example.org`)
	err := s.Deliver(t.Context(), d)
	want := []int{0, 452, 550, 550, 0}
	for i, r := range d.Recipients {
		code := 0
		out := d.Outcome(r, err)
		if reply := nexthop.ReplyOf(out); reply != nil {
			code = reply.Code
		} else if out != nil {
			t.Errorf("%s: %v", r.Address, out)
		}
		if code != want[i] {
			t.Errorf("%s: %v", r.Address, out)
		}
		if _, relayed := d.WasRelayed(r); relayed {
			t.Errorf("%s: the store is where it ends", r.Address)
		}
	}
	if b.copies("bob+list@example.org") != 1 || b.copies("a b@example.org") != 1 {
		t.Error("not kept once")
	}
	// The connection serves the next message.
	if err := s.Deliver(t.Context(), msatest.NewDelivery([]byte("x: y\r\n\r\n"), "bob@example.org")); err != nil || b.sessions != 1 {
		t.Errorf("%v, %d sessions", err, b.sessions)
	}
}

// Of a connection that breaks within the replies, those that came count.
func TestBroken(t *testing.T) {
	b, s := startStore(t)
	d := msatest.NewDelivery([]byte("Subject: x\r\n\r\n"), "bob@example.org", "gone@example.org", "drop@example.org", "carol@example.org")
	err := s.Deliver(t.Context(), d)
	for i, want := range []bool{true, true, false, false} {
		if reported, _ := d.Reported(d.Recipients[i]); reported != want && reported {
			t.Errorf("%s: reported %v", d.Recipients[i].Address, reported)
		}
	}
	if err == nil || msatest.IsPermanent(err) || queue.IsUnreachable(err) {
		t.Error(err)
	}
	if b.copies("carol@example.org") != 0 {
		t.Error("carol has a copy")
	}
}

func TestConfig(t *testing.T) {
	for want, s := range map[string]*LMTP{
		"an address is required":        {},
		"expected host:port or unix":    {Address: "dovecot.example.org"},
		"is not one of required or off": {Address: "127.0.0.1:24", TLS: "maybe"},
		"do nothing":                    {Address: "127.0.0.1:24", TLSClient: conf.TLSClient{ServerName: "x"}},
		"no such file":                  {Address: "192.0.2.1:24", TLSClient: conf.TLSClient{CA: []string{"/nowhere"}}},
		"timeouts must":                 {Address: "127.0.0.1:24", Timeout: -1},
		"must be positive":              {Address: "127.0.0.1:24", Concurrency: -1},
	} {
		if err := s.Provision(caddyContext); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, have %v", want, err)
		}
	}
	for _, text := range []string{"lmtp", "lmtp a b", "lmtp a:1 {\n x\n}", "lmtp a:1 {\n timeout x\n}", "lmtp a:1 {\n connections x\n}", "lmtp a:1 {\n tls\n}", "lmtp a:1 {\n ca\n}"} {
		if err := new(LMTP).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	s := &LMTP{Address: "192.0.2.1:24"}
	if err := s.Provision(caddyContext); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Deliver(ctx, msatest.NewDelivery(nil, "bob@example.org")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
