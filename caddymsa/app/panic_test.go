package app

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// brittle is a spool, its draft and a policy, one call of which panics.
type brittle struct {
	queue.OpenSpool
	at      string
	store   *store
	aborted int
	ended   []bool
}

func (b *brittle) maybe(at string) {
	if b.at == at {
		panic("a bug in " + at)
	}
}

func (b *brittle) Create(context.Context) (queue.Draft, error) {
	b.maybe("create")
	return brittleDraft{b}, nil
}

func (b *brittle) CheckSender(_ context.Context, s *caddymsa.Submission) error {
	s.OnEnd(func(bool) { b.maybe("end") })
	s.OnEnd(func(accepted bool) { b.ended = append(b.ended, accepted) })
	b.maybe("sender")
	return nil
}

func (b *brittle) CheckMessage(_ context.Context, _ *caddymsa.Submission, m *caddymsa.Message) error {
	b.maybe("message")
	read := make(chan error) // as net/http reads a request's body
	go func() {
		r, err := m.Open()
		if err == nil {
			_, err = io.ReadAll(r)
		}
		read <- err
	}()
	err := <-read
	if b.at == "swallowed" {
		return nil
	}
	return err
}

type brittleDraft struct{ b *brittle }

func (d brittleDraft) Write(p []byte) (int, error)    { d.b.maybe("write"); return len(p), nil }
func (d brittleDraft) Reader() (io.ReadCloser, error) { return io.NopCloser(brittleReader(d)), nil }

type brittleReader struct{ b *brittle }

func (r brittleReader) Read([]byte) (int, error) {
	r.b.maybe("read")
	r.b.maybe("swallowed")
	return 0, io.EOF
}

func (d brittleDraft) Commit(context.Context, *queue.Accept) error {
	d.b.maybe("commit")
	return nil
}
func (d brittleDraft) Abort() { d.b.aborted++; d.b.maybe("commit") }

// submission runs a message through a session's transaction, as the engine does, and tells what the
// client would get: "panic" is 421.
func (b *brittle) submission(t *testing.T) (reply string, logs *zapobserver.ObservedLogs) {
	defer func() {
		if n := b.store.beingReceived(); n != 0 { // after a reload the spool could never be closed
			t.Errorf("a panic in %q leaves %d drafts that are being received", b.at, n)
		}
	}()
	core, logs := zapobserver.New(zap.DebugLevel)
	a := &App{generation: newGeneration(), Queue: new(QueueConfig)}
	b.store = &store{spool: b, queue: queue.New(b, nil, queue.Options{}), log: zap.New(core)}
	a.delivery = &delivery{app: a, store: b.store}
	srv := &Server{app: a, log: zap.New(core), policies: newPolicies([]*PolicyConfig{{module: b, name: "brittle", log: zap.NewNop()}})}
	srv.Auth = &Auth{backends: []*backend{{id: "file"}}, Reauth: conf.Duration(time.Hour)}
	if err := srv.Limits.setDefaults(); err != nil {
		t.Fatal(err)
	}
	ep := new(endpoint)
	ep.bindings.push(&binding{srv: srv, ep: ep})
	server, client := net.Pipe()
	t.Cleanup(func() { _ = client.Close() })
	s := &session{place: ep, client: smtpd.New(server, ep, false, smtpd.Options{}), log: srv.log}
	s.login = &login{backend: srv.Auth.backends[0], since: time.Now()}
	from, _ := mailaddr.Parse("alice@example.org", false)

	var tx smtpd.Transaction
	var body smtpd.Body
	reply, _ = guardedCall(func() (err error) { tx, err = s.Mail(t.Context(), from, new(smtpd.MailOptions)); return err })
	if reply != "" {
		return reply, logs
	}
	sub := tx.(*transaction).sub
	sub.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net"}}
	if reply, _ = guardedCall(func() (err error) { body, err = tx.Begin(t.Context()); return err }); reply != "" {
		tx.Abort() // as the engine does
		return reply, logs
	}
	if reply, _ = guardedCall(func() error { _, err := body.Write([]byte("Subject: x\r\n\r\n")); return err }); reply != "" {
		body.Abort(errors.New(reply))
		return reply, logs
	}
	reply, _ = guardedCall(func() error {
		r, err := body.Commit(t.Context())
		if err == nil {
			err = &smtp.SMTPError{Code: r.Code}
		}
		return err
	})
	return reply, logs
}

func guardedCall(f func() error) (reply string, err error) {
	defer func() {
		if recover() != nil {
			reply = "panic"
		}
	}()
	if err = f(); err != nil {
		reply = err.Error()
	}
	return reply, err
}

// A panic in a module aborts the draft, tells the policies, and ends the session; after the message is
// durable it changes nothing for the client.
func TestPanicInModules(t *testing.T) {
	for at, want := range map[string]struct {
		reply   string
		aborted int
	}{
		"":        {"SMTP error 250", 0},
		"sender":  {"panic", 0},
		"create":  {"panic", 0},
		"write":   {"panic", 1},
		"message": {"panic", 1},
		"commit":  {"panic", 1},
		"read":    {"panic", 1},
		// a policy that accepts where it cannot tell
		"swallowed": {"panic", 1},
		"end":       {"SMTP error 250", 0},
	} {
		b := &brittle{at: at}
		reply, logs := b.submission(t)
		accepted := strings.Contains(reply, "250")
		if reply != want.reply || b.aborted != want.aborted || len(b.ended) != 1 || b.ended[0] != accepted {
			t.Errorf("a panic in %q: %q, aborted %d times, ends %v", at, reply, b.aborted, b.ended)
		}
		if at == "end" && logs.FilterLevelExact(zap.ErrorLevel).Len() != 1 {
			t.Errorf("the log has %v", logs.All())
		}
	}
}
