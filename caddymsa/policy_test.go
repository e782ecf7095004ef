package caddymsa

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// fakePolicy notes what it is asked.
type fakePolicy struct {
	asked *[]string
	err   error
}

func (p fakePolicy) CheckSender(context.Context, *Submission) error {
	*p.asked = append(*p.asked, "sender")
	return p.err
}

func (p fakePolicy) CheckRecipient(_ context.Context, _ *Submission, r *queue.Recipient) error {
	*p.asked = append(*p.asked, r.Address)
	return p.err
}

func (p fakePolicy) CheckMessage(context.Context, *Submission, *Message) error {
	*p.asked = append(*p.asked, "message")
	return p.err
}

// fakeMatcher matches one recipient, or, at an earlier moment, by what it says.
type fakeMatcher struct {
	moment Moment
	rcpt   string
	yes    bool
}

func (m fakeMatcher) Moment() Moment { return m.moment }

func (m fakeMatcher) Match(_ *queue.Entry, r *queue.Recipient) (bool, error) {
	if m.moment == MomentRecipient {
		return r.Address == m.rcpt, nil
	}
	return m.yes, nil
}

// A policy runs at the earliest moment that it and its matchers allow.
func TestPolicyMoments(t *testing.T) {
	for _, tt := range []struct {
		name     string
		matchers matcherSets
		want     []string
	}{
		{"no matcher", nil, []string{"sender", "a", "b", "message"}},
		{"a matcher at MAIL", matcherSets{{fakeMatcher{moment: MomentSender, yes: true}}}, []string{"sender", "a", "b", "message"}},
		{"one that does not match", matcherSets{{fakeMatcher{moment: MomentSender}}}, nil},
		{"a matcher at RCPT", matcherSets{{fakeMatcher{moment: MomentRecipient, rcpt: "b"}}}, []string{"sender", "b", "message"}},
		{"either set", matcherSets{{fakeMatcher{moment: MomentRecipient, rcpt: "a"}}, {fakeMatcher{moment: MomentRecipient, rcpt: "b"}}},
			[]string{"sender", "a", "sender", "b", "message"}},
		{"all of a set", matcherSets{{fakeMatcher{moment: MomentRecipient, rcpt: "a"}, fakeMatcher{moment: MomentSender}}}, nil},
	} {
		var asked []string
		ps := policies{{matchers: tt.matchers, module: fakePolicy{asked: &asked}, name: "fake"}}
		s := &Submission{Entry: &queue.Entry{}}
		ctx := context.Background()
		_ = ps.sender(ctx, s)
		for _, rcpt := range []string{"a", "b"} {
			r := queue.Recipient{Address: rcpt}
			_ = ps.recipient(ctx, s, &r)
			s.Entry.Recipients = append(s.Entry.Recipients, r)
		}
		_ = ps.message(ctx, s, &Message{})
		if !slices.Equal(asked, tt.want) {
			t.Errorf("%s: asked %q, want %q", tt.name, asked, tt.want)
		}
	}
}

// A refusal carries the policy's name into the log, and its reply to the client.
func TestPolicyRefusal(t *testing.T) {
	var asked []string
	ps := policies{{module: fakePolicy{asked: &asked, err: errNoRoute}, name: "fake"}}
	err := ps.sender(context.Background(), &Submission{Entry: &queue.Entry{}})
	var p *policyError
	if !errors.As(err, &p) || p.policy != "fake" || toReply(err) != errNoRoute {
		t.Error(err)
	}
	ps = policies{{module: fakePolicy{asked: &asked, err: errors.New("dial tcp 10.0.0.5: refused")}, name: "fake"}}
	if reply := toReply(ps.sender(context.Background(), &Submission{Entry: &queue.Entry{}})); reply != errInternal {
		t.Errorf("a failure of the policy: %v", reply)
	}
}

func TestPrepend(t *testing.T) {
	var m Message
	m.Prepend("B: 2\r\n")
	m.Prepend("A: 1\r\n")
	if string(m.header) != "A: 1\r\nB: 2\r\n" {
		t.Errorf("%q", m.header)
	}
}
