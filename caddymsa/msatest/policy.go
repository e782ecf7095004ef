package msatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// PolicyCase is a submission, and what a policy says of it.
type PolicyCase struct {
	Name string
	// User submits; default alice@example.org. Sender is the return path, "" for <>.
	User, Sender string
	// Recipients; default bob@example.net.
	Recipients []string
	// Message; default a small one with From, To, Date, Message-ID and Subject.
	Message string
	// Code of the reply that refuses, and its enhanced code. Zero: it is accepted.
	Code   int
	Status smtp.EnhancedCode
	// Rule that the refusal names. Empty: whichever.
	Rule string
}

// Policy is the conformance suite of policies. open gives a policy, provisioned and as new; the
// cases are what it says of which submissions, at least one of which it accepts. Run it with
// -race too.
//
//	func TestConformance(t *testing.T) {
//		msatest.Policy(t, func(t testing.TB) any { return newMine(t) },
//			msatest.PolicyCase{Name: "taken"},
//			msatest.PolicyCase{Name: "no subject", Message: "From: a@b.example\r\n\r\n", Code: 554, Status: smtp.EnhancedCode{5, 6, 0}},
//		)
//	}
func Policy(t *testing.T, open func(t testing.TB) any, cases ...PolicyCase) {
	switch open(t).(type) {
	case caddymsa.SenderPolicy, caddymsa.RecipientPolicy, caddymsa.MessagePolicy:
	default:
		t.Fatal("it is not a policy: it checks neither senders, recipients nor messages")
	}
	for _, c := range cases {
		t.Run("Case/"+c.Name, func(t *testing.T) { testPolicyCase(t, open(t), c) })
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, any, []PolicyCase)
	}{
		{"HostileMessages", testPolicyHostile},
		{"WorstMessages", testPolicyWorst},
		{"Cancelled", testPolicyCancelled},
		{"BrokenDisk", testPolicyBrokenDisk},
		{"MessageAlone", testPolicyMessageAlone},
		{"Concurrent", testPolicyConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t), cases) })
	}
}

// NewSubmission returns a submission by the user whose recipients are yet to come.
func NewSubmission(user, sender string) *caddymsa.Submission {
	s := &caddymsa.Submission{
		Entry: &queue.Entry{ID: "01TEST", Server: "msa.example.org", Sender: sender, User: user, RemoteIP: "192.0.2.7", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", Helo: "client.example.org", Session: "0123456789abcdef",
			Attributes: map[string]string{"org": "example"}},
		Identity: caddymsa.Identity{User: user, Attributes: map[string]string{"org": "example"}},
		Helo:     "client.example.org", RemoteIP: netip.MustParseAddr("192.0.2.7"), Hostname: "msa.example.org", Session: "0123456789abcdef",
	}
	if sender != "" {
		a, err := mailaddr.Parse(sender, true)
		if err != nil {
			panic(fmt.Sprintf("sender %q: %v", sender, err))
		}
		s.Sender = a
	}
	return s
}

// NewMessage returns the message with these octets.
func NewMessage(octets string) *caddymsa.Message {
	return caddymsa.NewMessage(int64(len(octets)), func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(octets)), nil
	})
}

// Submit takes a submission through a policy's moments as the server does: the sender, each
// recipient, the message. It ends at the first error; the submission is not over then.
func Submit(ctx context.Context, policy any, s *caddymsa.Submission, recipients []string, m *caddymsa.Message) error {
	if p, ok := policy.(caddymsa.SenderPolicy); ok {
		if err := p.CheckSender(ctx, s); err != nil {
			return err
		}
	}
	for _, to := range recipients {
		r := queue.Recipient{Address: to}
		if p, ok := policy.(caddymsa.RecipientPolicy); ok {
			if err := p.CheckRecipient(ctx, s, &r); err != nil {
				return err
			}
		}
		s.Entry.Recipients = append(s.Entry.Recipients, r)
	}
	if p, ok := policy.(caddymsa.MessagePolicy); ok {
		return p.CheckMessage(ctx, s, m)
	}
	return nil
}

const usualMessage = "From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\n" +
	"Message-ID: <1@example.org>\r\nSubject: usual\r\n\r\nHello.\r\n"

func (c PolicyCase) submission() (s *caddymsa.Submission, recipients []string, octets string) {
	if c.User == "" {
		c.User = "alice@example.org"
	}
	if c.Recipients == nil {
		c.Recipients = []string{"bob@example.net"}
	}
	if c.Message == "" {
		c.Message = usualMessage
	}
	return NewSubmission(c.User, c.Sender), c.Recipients, c.Message
}

// counted is a message that knows how many of its readers are open.
func counted(octets string, open *atomic.Int32) *caddymsa.Message {
	return caddymsa.NewMessage(int64(len(octets)), func() (io.ReadCloser, error) {
		open.Add(1)
		return &countedReader{Reader: strings.NewReader(octets), open: open}, nil
	})
}

type countedReader struct {
	io.Reader
	open *atomic.Int32
	once sync.Once
}

func (r *countedReader) Close() error {
	r.once.Do(func() { r.open.Add(-1) })
	return nil
}

func testPolicyCase(t *testing.T, policy any, c PolicyCase) {
	s, recipients, octets := c.submission()
	before := *s.Entry
	var open atomic.Int32
	m := counted(octets, &open)
	err := Submit(context.Background(), policy, s, recipients, m)
	s.End(err == nil)
	if n := open.Load(); n != 0 {
		t.Errorf("%d readers of the message were left open", n)
	}
	// What may change of an entry is where bounces go.
	after := *s.Entry
	after.ReturnPath, after.Recipients = before.ReturnPath, before.Recipients
	if !reflect.DeepEqual(after, before) {
		t.Errorf("the envelope was changed:\n%+v\n%+v", before, after)
	}
	for i, r := range s.Entry.Recipients {
		if !reflect.DeepEqual(r, queue.Recipient{Address: recipients[i]}) {
			t.Errorf("a recipient was changed: %+v", r)
		}
	}
	checkPrepended(t, m.Prepended())
	if c.Code == 0 {
		if err != nil {
			t.Errorf("not accepted: %v", err)
		}
		return
	}
	code, status, rule, ok := refusal(err)
	if !ok || code != c.Code || status != c.Status || c.Rule != "" && rule != c.Rule {
		t.Errorf("%d %v %q, want %d %v %q: %v", code, status, rule, c.Code, c.Status, c.Rule, err)
	}
	checkRefusal(t, err)
}

// refusal takes an error apart that is a policy's no.
func refusal(err error) (code int, status smtp.EnhancedCode, rule string, ok bool) {
	if r, ok := errors.AsType[*caddymsa.Refusal](err); ok {
		return r.Code, r.Status, r.Rule, true
	}
	if r, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return r.Code, r.EnhancedCode, "", true
	}
	return 0, status, "", false
}

// checkRefusal wants a reply whose class is one and the same in both codes. An error that
// is not a refusal is the policy's failure, which the client gets as 451.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	code, status, _, ok := refusal(err)
	if ok && (code/100 != 4 && code/100 != 5 || status[0] != code/100) {
		t.Errorf("code %d with status %v", code, status)
	}
}

// checkPrepended wants complete header fields of lines that fit (RFC 5322 section 2.1.1).
func checkPrepended(t *testing.T, header []byte) {
	t.Helper()
	if len(header) == 0 {
		return
	}
	if !bytes.HasSuffix(header, []byte("\r\n")) {
		t.Errorf("a prepended field does not end in CRLF: %q", header)
	}
	for i, line := range bytes.Split(bytes.TrimSuffix(header, []byte("\r\n")), []byte("\r\n")) {
		name, _, found := bytes.Cut(line, []byte(":"))
		folded := i > 0 && len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		if len(bytes.TrimSpace(line)) == 0 || len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") || !folded && (!found || len(name) == 0 || bytes.ContainsAny(name, " \t")) {
			t.Errorf("prepended line %q is not of a header field", line)
		}
	}
}

// hostile are messages that some reader stumbles over.
var hostile = []string{
	"", "\r\n", "\r\n\r\n", "no header at all", " folded: first\r\n\r\n", ":\r\n\r\n", "From\r\n", "From:\r\n\r\n", "\x00\x01\x02\r\n", "From: \xff\xfe@\x80\r\n\r\n",
	"A: " + strings.Repeat("x", 100_000) + "\r\n\r\n", strings.Repeat("A: b\r\n", 20_000) + "\r\nbody", strings.Repeat("a", 300_000),
	"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n--\r\n", "Content-Type: multipart/mixed\r\n\r\n--x\r\n",
	"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n", 20_000) + "--x--\r\n",
	nested(3000), "Content-Type: text/plain; charset=\"\r\n\tnone\r\nContent-Transfer-Encoding: base64\r\n\r\n====\r\n",
	"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nx",
	"Subject: =?utf-8?b?" + strings.Repeat("4pi", 30_000) + "?=\r\n\r\n", "Bcc: x\r\nbCC : y\r\n\r\n.\r\n..\r\n",
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return b.String()
}

// A hostile message is accepted or refused; the policy neither fails nor gives up.
func testPolicyHostile(t *testing.T, policy any, _ []PolicyCase) {
	for _, octets := range hostile {
		for _, sender := range []string{"alice@example.org", ""} {
			s := NewSubmission("alice@example.org", sender)
			var open atomic.Int32
			m := counted(octets, &open)
			err := Submit(context.Background(), policy, s, []string{"bob@example.net", `"a b"@example.net`}, m)
			s.End(err == nil)
			if _, _, _, ok := refusal(err); err != nil && !ok && !errors.As(err, new(*caddymsa.AlreadyAccepted)) {
				t.Errorf("%.60q: %v", octets, err)
			}
			checkRefusal(t, err)
			checkPrepended(t, m.Prepended())
			if n := open.Load(); n != 0 {
				t.Errorf("%.60q: %d readers were left open", octets, n)
			}
		}
	}
}

// policySoon is how long a policy may take to notice that its time is over.
const policySoon = time.Minute

// A policy whose time is over returns soon, whatever it says.
func testPolicyCancelled(t *testing.T, policy any, cases []PolicyCase) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range cases {
		s, recipients, octets := c.submission()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = Submit(ctx, policy, s, recipients, NewMessage(octets))
			s.End(false)
		}()
		select {
		case <-done:
		case <-time.After(policySoon):
			t.Fatalf("%s: it did not return", c.Name)
		}
	}
}

var errDisk = errors.New("input/output error")

type brokenReader struct{ n int }

func (r *brokenReader) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, errDisk
	}
	n := copy(p, usualMessage[:r.n])
	r.n -= n
	return n, nil
}

func (*brokenReader) Close() error { return nil }

// A message that cannot be read is not the fault of the client: a policy that reads it fails.
func testPolicyBrokenDisk(t *testing.T, policy any, _ []PolicyCase) {
	for name, open := range map[string]func() (io.ReadCloser, error){
		"at once": func() (io.ReadCloser, error) { return nil, errDisk },
		"within":  func() (io.ReadCloser, error) { return &brokenReader{n: 40}, nil },
	} {
		s, asked := NewSubmission("alice@example.org", "alice@example.org"), false
		m := caddymsa.NewMessage(int64(len(usualMessage)), func() (io.ReadCloser, error) { asked = true; return open() })
		err := Submit(context.Background(), policy, s, []string{"bob@example.net"}, m)
		s.End(err == nil)
		if code, _, _, ok := refusal(err); asked && (err == nil || ok && code/100 == 5) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The message may be all that a policy is asked about: its matchers can have had nothing to
// do with the sender and the recipients.
func testPolicyMessageAlone(t *testing.T, policy any, _ []PolicyCase) {
	p, ok := policy.(caddymsa.MessagePolicy)
	if !ok {
		return
	}
	s := NewSubmission("alice@example.org", "alice@example.org")
	s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net"}}
	err := p.CheckMessage(context.Background(), s, NewMessage(usualMessage))
	s.End(err == nil)
	checkRefusal(t, err)
}

// Submissions at the same time are judged each by itself. What a policy says may depend on what
// came before, so only that it says something is asked for.
func testPolicyConcurrent(t *testing.T, policy any, cases []PolicyCase) {
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			for i := range 20 {
				for _, c := range cases {
					s, recipients, octets := c.submission()
					s.Entry.ID = fmt.Sprintf("01TEST%d", i)
					ctx, cancel := context.WithTimeout(context.Background(), policySoon)
					err := Submit(ctx, policy, s, recipients, NewMessage(octets))
					cancel()
					s.End(err == nil)
					if errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s: %v", c.Name, err)
						return
					}
					checkRefusal(t, err)
				}
			}
		})
	}
	working.Wait()
}
