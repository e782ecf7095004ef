package app

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/app/gate"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// fakePolicy notes what it is asked.
type fakePolicy struct {
	asked   *[]string
	err     error
	prepend string
}

func (p fakePolicy) CheckSender(context.Context, *caddymsa.Submission) error {
	*p.asked = append(*p.asked, "sender")
	return p.err
}

func (p fakePolicy) CheckRecipient(_ context.Context, _ *caddymsa.Submission, r *queue.Recipient) error {
	*p.asked = append(*p.asked, r.Address)
	return p.err
}

func (p fakePolicy) CheckMessage(_ context.Context, _ *caddymsa.Submission, m *caddymsa.Message) error {
	m.Prepend(p.prepend)
	*p.asked = append(*p.asked, "message")
	return p.err
}

// fakeMatcher matches one recipient, or, at an earlier moment, by what it says.
type fakeMatcher struct {
	moment caddymsa.Moment
	rcpt   string
	yes    bool
}

func (m fakeMatcher) Moment() caddymsa.Moment { return m.moment }

func (m fakeMatcher) Match(_ *queue.Entry, r *queue.Recipient) (bool, error) {
	if m.moment == caddymsa.MomentRecipient {
		return r.Address == m.rcpt, nil
	}
	return m.yes, nil
}

// What a policy would have refused is not written for ever either: a client's network has so many lines a minute.
func TestLogOnlySampled(t *testing.T) {
	core, logs := logged.New(zap.DebugLevel)
	g := gate.New()
	p := &PolicyConfig{LogOnly: true, module: fakePolicy{asked: new([]string), err: errors.New("no")}, name: "fake", log: zap.New(core), gate: func() *gate.Gate { return g }}
	s := &caddymsa.Submission{Entry: new(queue.Entry), RemoteIP: netip.MustParseAddr("192.0.2.1")}
	const tries = 5000
	for range tries {
		if err := p.sender(t.Context(), s, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := logs.FilterMessage("policy would have refused").Len(); n == 0 || n == tries {
		t.Errorf("%d lines of %d", n, tries)
	}
}

// A policy runs at the earliest moment that it and its matchers allow.
func TestPolicyMoments(t *testing.T) {
	for _, tt := range []struct {
		name     string
		matchers matcherSets
		want     []string
	}{
		{"no matcher", nil, []string{"sender", "a", "b", "message"}},
		{"a matcher at MAIL", matcherSets{{fakeMatcher{moment: caddymsa.MomentSender, yes: true}}}, []string{"sender", "a", "b", "message"}},
		{"one that does not match", matcherSets{{fakeMatcher{moment: caddymsa.MomentSender}}}, nil},
		{"a matcher at RCPT", matcherSets{{fakeMatcher{moment: caddymsa.MomentRecipient, rcpt: "b"}}}, []string{"sender", "b", "message"}},
		{"either set", matcherSets{{fakeMatcher{moment: caddymsa.MomentRecipient, rcpt: "a"}}, {fakeMatcher{moment: caddymsa.MomentRecipient, rcpt: "b"}}},
			[]string{"sender", "a", "sender", "b", "message"}},
		{"all of a set", matcherSets{{fakeMatcher{moment: caddymsa.MomentRecipient, rcpt: "a"}, fakeMatcher{moment: caddymsa.MomentSender}}}, nil},
	} {
		var asked []string
		ps := newPolicies([]*PolicyConfig{{matchers: tt.matchers, module: fakePolicy{asked: &asked}, name: "fake"}})
		s := &caddymsa.Submission{Entry: &queue.Entry{}}
		ctx := context.Background()
		_ = ps.sender(ctx, s)
		for _, rcpt := range []string{"a", "b"} {
			r := queue.Recipient{Address: rcpt}
			_ = ps.recipient(ctx, s, &r)
			s.Entry.Recipients = append(s.Entry.Recipients, r)
		}
		_ = ps.message(ctx, s, &caddymsa.Message{})
		if !slices.Equal(asked, tt.want) {
			t.Errorf("%s: asked %q, want %q", tt.name, asked, tt.want)
		}
	}
}

// A refusal carries the policy's name into the log, and its reply to the client.
func TestPolicyRefusal(t *testing.T) {
	var asked []string
	ps := newPolicies([]*PolicyConfig{{module: fakePolicy{asked: &asked, err: errNoRoute}, name: "fake"}})
	err := ps.sender(context.Background(), &caddymsa.Submission{Entry: &queue.Entry{}})
	var p *policyError
	if !errors.As(err, &p) || p.policy != "fake" || caddymsa.ReplyText(toReply(err)) != "550 5.7.1 Recipient is not served here (fake)" {
		t.Error(err)
	}
	ps = newPolicies([]*PolicyConfig{{module: fakePolicy{asked: &asked, err: errors.New("dial tcp 10.0.0.5: refused")}, name: "fake"}})
	if reply := toReply(ps.sender(context.Background(), &caddymsa.Submission{Entry: &queue.Entry{}})); reply != errInternal {
		t.Errorf("a failure of the policy: %v", reply)
	}
}

// What a policy repeats of somebody else's words cannot break a reply.
func TestRefusalText(t *testing.T) {
	for want, r := range map[string]*caddymsa.Refusal{
		"550 5.7.1 No (p: r)":                               {Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Text: "No", Rule: "r"},
		"450 4.7.1 Later (p)":                               {Code: 450, Status: smtp.EnhancedCode{4, 7, 1}, Text: "Later"},
		"550 5.7.1 Refused by p: r":                         {Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "r"},
		"550 5.7.1 a 250 2.0.0 Ok b (p)":                    {Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Text: "a\r\n250 2.0.0 Ok\x00\u00e9 b"},
		"550 5.7.1 " + strings.Repeat("x", 300) + "... (p)": {Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Text: strings.Repeat("x", 5000)},
	} {
		if got := caddymsa.ReplyText(toReply(&policyError{policy: "p", err: r})); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// log_only says what a policy would have done, and does not do it.
func TestLogOnly(t *testing.T) {
	core, logs := logged.New(zap.InfoLevel)
	var asked []string
	ps := newPolicies([]*PolicyConfig{{module: fakePolicy{asked: &asked, err: caddymsa.Refuse("size", "Too large"), prepend: "X: 1\r\n"}, name: "fake", LogOnly: true, log: zap.New(core)}})
	s := &caddymsa.Submission{Entry: &queue.Entry{Recipients: []queue.Recipient{{Address: "a"}}}}
	m := caddymsa.NewMessage(0, nil)
	ctx := context.Background()
	for _, err := range []error{ps.sender(ctx, s), ps.recipient(ctx, s, &s.Entry.Recipients[0]), ps.message(ctx, s, m)} {
		if err != nil {
			t.Error(err)
		}
	}
	if len(asked) != 3 || logs.FilterField(zap.String("reply", "550 5.7.1 Too large (fake: size)")).Len() != 3 {
		t.Errorf("asked %q, logged %v", asked, logs.All())
	}
	if len(m.Prepended()) != 0 {
		t.Errorf("prepended %q", m.Prepended())
	}
}

// What a policy takes for accepted before is not a refusal in the log either.
func TestLogOnlyAccepted(t *testing.T) {
	core, logs := logged.New(zap.InfoLevel)
	var asked []string
	ps := newPolicies([]*PolicyConfig{{module: fakePolicy{asked: &asked, err: &caddymsa.AlreadyAccepted{ID: "Q1"}}, name: "fake", LogOnly: true, log: zap.New(core)}})
	s := &caddymsa.Submission{Entry: &queue.Entry{Recipients: []queue.Recipient{{Address: "a"}}}}
	if err := ps.message(context.Background(), s, caddymsa.NewMessage(0, nil)); err != nil {
		t.Error(err)
	}
	if logs.FilterField(zap.String("reply", "250 2.0.0 Ok: queued as Q1")).FilterMessage("policy would have said that it was accepted before").Len() != 1 {
		t.Error(logs.All())
	}
}

// contentMatcher asks about the message.
type contentMatcher struct{ fakeMatcher }

func (contentMatcher) MatchMessage(_ context.Context, _ *caddymsa.Submission, r *queue.Recipient, m *caddymsa.Message) (bool, error) {
	return m.Size > 10 && r.Address == "b", nil
}

// A policy whose matcher has to wait for the message runs all its checks then.
func TestMatcherOfMessages(t *testing.T) {
	var asked []string
	ps := newPolicies([]*PolicyConfig{{module: fakePolicy{asked: &asked}, matchers: matcherSets{{contentMatcher{fakeMatcher{moment: caddymsa.MomentMessage}}}}}})
	ctx := context.Background()
	s := &caddymsa.Submission{Entry: &queue.Entry{Recipients: []queue.Recipient{{Address: "a"}, {Address: "b"}}}}
	_ = ps.sender(ctx, s)
	_ = ps.recipient(ctx, s, &s.Entry.Recipients[0])
	_ = ps.message(ctx, s, caddymsa.NewMessage(10, nil))
	if len(asked) > 0 {
		t.Errorf("asked %q too early, or though nothing matched", asked)
	}
	if err := ps.message(ctx, s, caddymsa.NewMessage(11, nil)); err != nil || !slices.Equal(asked, []string{"sender", "b", "message"}) {
		t.Errorf("asked %q, %v", asked, err)
	}
}

// What a policy keeps lasts as long as the submission, and its end is told once.
func TestSubmissionEnds(t *testing.T) {
	type key struct{}
	s := new(caddymsa.Submission)
	if s.Value(key{}) != nil {
		t.Error("a value that nobody set")
	}
	s.SetValue(key{}, 7)
	var ends []bool
	s.OnEnd(func(accepted bool) { ends = append(ends, accepted) })
	s.End(true)
	s.End(false)
	if s.Value(key{}) != 7 || !slices.Equal(ends, []bool{true}) {
		t.Error(s.Value(key{}), ends)
	}
	m, calls := caddymsa.NewMessage(0, nil), 0
	for range 2 {
		if v, err := m.Once(key{}, func() (any, error) { calls++; return "found", nil }); v != "found" || err != nil || calls != 1 {
			t.Error(v, err, calls)
		}
	}
}

func TestPrepend(t *testing.T) {
	var m caddymsa.Message
	m.Prepend("B: 2\r\n")
	m.Prepend("A: 1\r\n")
	if string(m.Prepended()) != "A: 1\r\nB: 2\r\n" {
		t.Errorf("%q", m.Prepended())
	}
}

// A policy that is only to be tried holds no message either: the log and the journal say that it would have. What another policy
// holds stays held.
func TestLogOnlyHolds(t *testing.T) {
	in := newInstance(t)
	in.mail.policy = func(at string, s *caddymsa.Submission, _ *caddymsa.Message) error {
		if at == "message" {
			s.Held = "quarantined"
		}
		return nil
	}
	fake := func(logOnly bool) map[string]any {
		return map[string]any{"log_only": logOnly, "policy": map[string]any{"module": "fake", "world": in.mail.id}}
	}
	in.load(with("policies", []any{fake(true)}))
	id := in.session().submit("bob@example.net")
	in.arrived(1)
	in.logged("policy would have held", "quarantined", id, "alice@example.org")
	in.kinds(id, "accepted delivered")
	if line := in.logged("message accepted", id); !strings.Contains(line, "fake: would have held, log_only") {
		t.Error(line)
	}
	in.load(with("policies", []any{fake(false), fake(true)}))
	in.kinds(in.session().submit("bob@example.net"), "accepted held")
}
