package httpsubmit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// fake is an msa server of which the engine's rules are the real ones.
type fake struct {
	settings   smtpd.Settings
	header     int64 // most octets of a message's
	mechanisms []string
	refuse     func(moment, what string) error // nil: nothing is

	mu       sync.Mutex
	logins   []string // mechanism and response
	messages []*sent
	first    map[string]*running.Accepted
	own      map[string]*running.Message
	admitted int
	span     trace.SpanContext // of the latest message
	refused  []smtpd.Refusal   // of what was refused before it was a message
	// Scratches and their readers that are open, and how many there have been.
	scratches, readers, scratched, opened int
}

// sent is a message that was accepted.
type sent struct {
	from    string
	to      []string
	options smtpd.MailOptions
	body    string
}

const server = "msa.example.org"

var (
	errWrong   = &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "Authentication credentials invalid"}
	errBlocked = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many failed authentications, try again later"}
)

// serve puts a server in charge, and returns a handler for it.
func serve(t testing.TB) (*fake, *Submit) {
	f := &fake{mechanisms: []string{"PLAIN", "OAUTHBEARER"}, first: make(map[string]*running.Accepted), own: make(map[string]*running.Message)}
	t.Cleanup(running.Push(f, map[string]any{server: f}))
	return f, &Submit{Server: server, JSONSize: 4 << 20, log: zap.NewNop()}
}

func (f *fake) no(moment, what string) error {
	if f.refuse == nil {
		return nil
	}
	return f.refuse(moment, what)
}

func (f *fake) Admit(*running.Client) (running.Visitor, error) {
	if err := f.no("admit", ""); err != nil {
		return nil, err
	}
	f.admitted++
	return f, nil
}

func (f *fake) Leave()               { f.admitted-- }
func (f *fake) Mechanisms() []string { return f.mechanisms }

func (f *fake) Login(ctx context.Context, mechanism string, response []byte) (running.Submitter, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logins = append(f.logins, mechanism+" "+string(response))
	switch {
	case strings.Contains(string(response), "blocked"):
		return nil, nil, errBlocked
	case strings.Contains(string(response), "token-expired"):
		return nil, []byte(`{"status":"invalid_token","scope":"mail \"send"}`), errWrong
	case !strings.Contains(string(response), "secret"):
		return nil, nil, errWrong
	}
	return f, nil, nil
}

func (f *fake) Begin(ctx context.Context, e *smtpd.Envelope, once *running.Once) (running.Draft, error) {
	f.span = trace.SpanContextFromContext(ctx)
	i, err := smtpd.Inject(ctx, &fakeSession{f: f, once: once}, &f.settings, e)
	if err != nil {
		return nil, err
	}
	return i, nil
}

func (f *fake) Refused(r smtpd.Refusal) { f.refused = append(f.refused, r) }

func (f *fake) Bounds() smtpd.Bounds {
	b := f.settings.Bounds()
	b.Header = f.header
	return b
}

// Scratch counts those that are open.
func (f *fake) Scratch(context.Context) (running.Scratch, error) {
	if err := f.no("scratch", ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scratches++
	f.scratched++
	return &fakeScratch{f: f}, nil
}

type fakeScratch struct {
	f *fake
	b bytes.Buffer
}

func (s *fakeScratch) Write(p []byte) (int, error) {
	if err := s.f.no("scratch write", ""); err != nil {
		return 0, err
	}
	return s.b.Write(p)
}

func (s *fakeScratch) Reader() (io.ReadCloser, error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.readers++
	s.f.opened++
	return &fakeReader{bytes.NewReader(s.b.Bytes()), s.f}, nil
}

func (s *fakeScratch) Abort() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.scratches--
}

type fakeReader struct {
	io.Reader
	f *fake
}

func (r *fakeReader) Close() error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.readers--
	return nil
}

func (f *fake) Earlier(_ context.Context, key string) (*running.Accepted, func(), bool, error) {
	if err := f.no("key", key); err != nil {
		return nil, nil, false, err
	}
	return f.first[key], func() {}, key != "busy", nil
}

func (f *fake) Message(ctx context.Context, id string) (*running.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if m := f.own[id]; m != nil {
		return m, nil
	}
	return nil, running.ErrNoMessage
}

func (f *fake) TakeBack(ctx context.Context, id string) (*running.Message, error) {
	m, err := f.Message(ctx, id)
	if err == nil && m.State == running.Delivered {
		err = running.ErrTooLate
	}
	return m, err
}

// fakeSession is a client's dealings, and its one message.
type fakeSession struct {
	f    *fake
	once *running.Once
	sent
	octets bytes.Buffer
}

func (s *fakeSession) Mechanisms() []string { return nil }
func (s *fakeSession) Auth(context.Context, string) (gosasl.Server, error) {
	return nil, errors.New("not here")
}
func (s *fakeSession) Refused(r smtpd.Refusal) { s.f.refused = append(s.f.refused, r) }
func (s *fakeSession) Close(smtpd.End)         {}

func (s *fakeSession) Mail(ctx context.Context, from mailaddr.Address, o *smtpd.MailOptions) (smtpd.Transaction, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.from, s.options = from.Exact, *o
	return s, s.f.no("MAIL", from.Exact)
}

func (s *fakeSession) Rcpt(_ context.Context, to mailaddr.Address, _ *smtpd.RcptOptions) error {
	s.to = append(s.to, to.Exact)
	return s.f.no("RCPT", to.Exact)
}

func (s *fakeSession) Begin(context.Context) (smtpd.Body, error) {
	return fakeBody{s}, s.f.no("begin", "")
}
func (s *fakeSession) Abort() {}

type fakeBody struct{ *fakeSession }

func (b fakeBody) Write(p []byte) (int, error) { return b.octets.Write(p) }
func (b fakeBody) Abort(error)                 {}

func (b fakeBody) Commit(ctx context.Context) (smtpd.Reply, error) {
	if err := ctx.Err(); err != nil {
		return smtpd.Reply{}, err
	}
	if err := b.f.no("DATA", b.octets.String()); err != nil {
		return smtpd.Reply{}, err
	}
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	b.body = b.octets.String()
	b.f.messages = append(b.f.messages, &b.sent)
	id := fmt.Sprint("Q", len(b.f.messages))
	if b.once != nil {
		b.f.first[b.once.Key] = &running.Accepted{ID: id, Sum: b.once.Sum()}
	}
	return smtpd.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "Ok: queued as " + id, ID: id}, nil
}

// last is the message that was accepted last.
func (f *fake) last(t testing.TB) *sent {
	t.Helper()
	if len(f.messages) == 0 {
		t.Fatal("no message was accepted")
	}
	return f.messages[len(f.messages)-1]
}

// slowly gives one octet at a time.
type slowly struct{ io.Reader }

func (s slowly) Read(p []byte) (int, error) { return s.Reader.Read(p[:min(len(p), 1)]) }
