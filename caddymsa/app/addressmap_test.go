package app

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// otp is the specification's example: xyz@otpnet.nl stands for abc@xyz.nl.
type otp struct{ err error }

func (m otp) Actual(_ context.Context, logical mailaddr.Address) (string, bool, error) {
	switch logical.Key() {
	case "xyz@otpnet.nl":
		return "abc@xyz.nl", true, m.err
	case "abc@xyz.nl": // its output is a key again, which is never looked up
		return "wrong@xyz.nl", true, nil
	case "broken@otpnet.nl":
		return "no address", true, nil
	}
	return "", false, m.err
}

func (m otp) Logical(_ context.Context, actual mailaddr.Address) (string, bool, error) {
	if actual.Key() == "abc@xyz.nl" {
		return "xyz@otpnet.nl", true, m.err
	}
	return "", false, m.err
}

type sinkFunc func(ctx context.Context, d *queue.Delivery) error

func (f sinkFunc) Deliver(ctx context.Context, d *queue.Delivery) error { return f(ctx, d) }

func (f sinkFunc) CheckRecipient(_ context.Context, _ *queue.Entry, r *queue.Recipient) error {
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no " + r.Address}
}

func deliverMapped(m caddymsa.AddressMap, e *queue.Entry, sink queue.Sink, to ...string) (map[string]error, *logged.ObservedLogs, error) {
	core, logs := logged.New(zap.InfoLevel)
	var rcpts []*queue.Recipient
	for _, a := range to {
		rcpts = append(rcpts, &queue.Recipient{Address: a})
	}
	d := queue.NewDelivery(e, rcpts, func() (io.ReadSeekCloser, error) { return nil, nil })
	err := (&mappedSink{sink: sink, addresses: m, log: zap.New(core)}).Deliver(context.Background(), d)
	outcomes := make(map[string]error)
	for _, r := range rcpts {
		outcomes[r.Address] = d.Outcome(r, err)
	}
	return outcomes, logs, err
}

//
func TestAddressMap(t *testing.T) {
	var sender string
	got := make(map[string]string)
	sink := sinkFunc(func(_ context.Context, d *queue.Delivery) error {
		sender = d.Entry.Sender
		for _, r := range d.Recipients {
			got[r.Address] = r.ORCPT
			if r.Address == "abc@xyz.nl" {
				r.RemoteMTA = "mx.xyz.nl"
				d.Report(r, &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "<ABC@xyz.nl>: unknown abc@xyz.nl"})
			}
		}
		return nil
	})
	e := &queue.Entry{ID: "Q1", Sender: "abc@xyz.nl"}
	outcomes, logs, err := deliverMapped(otp{}, e, sink, "xyz@OTPNET.nl", "other@example.org", "broken@otpnet.nl")
	if err != nil {
		t.Fatal(err)
	}
	if sender != "xyz@otpnet.nl" || e.Sender != "abc@xyz.nl" {
		t.Errorf("sender %s, stored %s", sender, e.Sender)
	}
	if len(got) != 2 || got["abc@xyz.nl"] != "rfc822;xyz@OTPNET.nl" || got["other@example.org"] != "" {
		t.Errorf("the sink got %v", got)
	}
	// What is told of it has the logical address alone; the log has both.
	reply, ok := errors.AsType[*smtp.SMTPError](outcomes["xyz@OTPNET.nl"])
	if !ok || reply.Code != 550 || reply.Message != "<xyz@OTPNET.nl>: unknown xyz@OTPNET.nl" {
		t.Errorf("%v", outcomes["xyz@OTPNET.nl"])
	}
	if err := outcomes["broken@otpnet.nl"]; err == nil || queue.OutcomeOf(err) != queue.OutcomeDeferred || !strings.Contains(err.Error(), "not an address") {
		t.Errorf("%v", err)
	}
	if outcomes["other@example.org"] != nil {
		t.Error(outcomes["other@example.org"])
	}
	line := logs.FilterMessage("recipient translated").All()
	if len(line) != 1 || line[0].ContextMap()["actual"] != "abc@xyz.nl" || line[0].ContextMap()["logical"] != "xyz@OTPNET.nl" {
		t.Errorf("%v", line)
	}
}

// What the sink says of all is said of all, and stays what it is.
func TestAddressMapErrors(t *testing.T) {
	down := queue.Unreachable(errors.New("connection refused"))
	outcomes, _, err := deliverMapped(otp{}, &queue.Entry{}, sinkFunc(func(context.Context, *queue.Delivery) error { return down }), "xyz@otpnet.nl", "b@example.org")
	if !errors.Is(err, down) || outcomes["xyz@otpnet.nl"] == nil || outcomes["b@example.org"] == nil {
		t.Errorf("%v, %v", err, outcomes)
	}
	refusal := queue.Permanent(&smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "abc@xyz.nl is not here"})
	outcomes, _, _ = deliverMapped(otp{}, &queue.Entry{}, sinkFunc(func(context.Context, *queue.Delivery) error { return refusal }), "xyz@otpnet.nl")
	err = outcomes["xyz@otpnet.nl"]
	if reply, ok := errors.AsType[*smtp.SMTPError](err); queue.OutcomeOf(err) != queue.OutcomeFailed || !ok || reply.Message != "xyz@otpnet.nl is not here" {
		t.Errorf("%v", err)
	}
	lookup := errors.New("database is down")
	called := false
	outcomes, _, _ = deliverMapped(otp{err: lookup}, &queue.Entry{}, sinkFunc(func(context.Context, *queue.Delivery) error { called = true; return nil }), "xyz@otpnet.nl")
	if !errors.Is(outcomes["xyz@otpnet.nl"], lookup) || called {
		t.Errorf("%v, %v", outcomes, called)
	}
	checker := &mappedSink{sink: sinkFunc(nil), addresses: otp{}, log: zap.NewNop()}
	err = checker.CheckRecipient(context.Background(), &queue.Entry{}, &queue.Recipient{Address: "xyz@otpnet.nl"})
	if reply, ok := errors.AsType[*smtp.SMTPError](err); !ok || reply.Message != "no xyz@otpnet.nl" {
		t.Errorf("%v", err)
	}
}

// What the sink says of the delivery as a whole stays so, as when a connection breaks: else the queue takes it for an answer about each
// recipient, and never finds out that it is the lane's.
func TestAddressMapLeavesTheWholeToTheLane(t *testing.T) {
	broken := errors.New("connection lost")
	to := []*queue.Recipient{{Address: "xyz@otpnet.nl"}, {Address: "b@example.org"}}
	d := queue.NewDelivery(&queue.Entry{}, to, nil)
	sink := sinkFunc(func(_ context.Context, inner *queue.Delivery) error {
		inner.Report(inner.Recipients[1], nil)
		return broken
	})
	if err := (&mappedSink{sink: sink, addresses: otp{}, log: zap.NewNop()}).Deliver(t.Context(), d); !errors.Is(err, broken) {
		t.Error(err)
	}
	if reported, _ := d.Reported(to[0]); reported {
		t.Error("it is said of one recipient")
	}
	if reported, err := d.Reported(to[1]); !reported || err != nil {
		t.Errorf("%t, %v", reported, err)
	}
}

// ik+x@ of a mapped ik@ is translated with its tag, or refused: it never goes out as it is. Senders too.
func TestAddressMapPlus(t *testing.T) {
	var sender string
	var got []string
	sink := sinkFunc(func(_ context.Context, d *queue.Delivery) error {
		sender = d.Entry.Sender
		for _, r := range d.Recipients {
			got = append(got, r.Address)
		}
		return nil
	})
	long := "xyz+" + strings.Repeat("x", 60) + "@otpnet.nl"
	outcomes, _, err := deliverMapped(otp{}, &queue.Entry{Sender: "abc+news@xyz.nl"}, sink, "xyz+x@otpnet.nl", "xyz+y+z@OTPNET.nl", "other+x@otpnet.nl")
	if err != nil || sender != "xyz+news@otpnet.nl" || strings.Join(got, " ") != "abc+x@xyz.nl abc+y+z@xyz.nl other+x@otpnet.nl" {
		t.Errorf("%v, sender %s, %v, %v", err, sender, got, outcomes)
	}
	got = nil
	outcomes, _, _ = deliverMapped(longOTP{}, &queue.Entry{}, sink, long)
	if reply, ok := errors.AsType[*smtp.SMTPError](outcomes[long]); len(got) != 0 || !ok || reply.Code != 550 {
		t.Errorf("%v, %v", got, outcomes[long])
	}
}

// longOTP makes addresses longer.
type longOTP struct{ otp }

func (longOTP) Actual(_ context.Context, logical mailaddr.Address) (string, bool, error) {
	return "actual-address-of-many-letters-indeed@xyz.nl", logical.Local == "xyz", nil
}

// Two logical addresses of one mailbox are one recipient downstream, whose one answer counts for both, and each reads
// of its own address.
func TestAddressMapOneMailbox(t *testing.T) {
	answer := func(code int) (map[string]error, []*queue.Recipient) {
		var got []*queue.Recipient
		outcomes, _, _ := deliverMapped(twoOTP{}, &queue.Entry{}, sinkFunc(func(_ context.Context, d *queue.Delivery) error {
			got = d.Recipients
			if code != 250 {
				d.Report(d.Recipients[0], &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: "no " + d.Recipients[0].Address})
			}
			return nil
		}), "one@otpnet.nl", "other@example.org", "two@otpnet.nl", "one@OTPNET.nl")
		return outcomes, got
	}
	outcomes, got := answer(250)
	if len(got) != 2 || got[0].Address != "abc@xyz.nl" || got[1].Address != "other@example.org" {
		t.Errorf("the sink got %v", got)
	}
	for a, err := range outcomes {
		if err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	outcomes, _ = answer(550)
	for _, a := range []string{"one@otpnet.nl", "two@otpnet.nl"} {
		if reply, ok := errors.AsType[*smtp.SMTPError](outcomes[a]); !ok || reply.Message != "no "+a {
			t.Errorf("%s: %v", a, outcomes[a])
		}
	}
	if outcomes["other@example.org"] != nil {
		t.Error(outcomes["other@example.org"])
	}
	if got := bothNotify([]string{"NEVER"}, []string{"SUCCESS"}); strings.Join(got, ",") != "SUCCESS" {
		t.Error(got)
	}
	if got := bothNotify(nil, []string{"SUCCESS"}); strings.Join(got, ",") != "FAILURE,DELAY,SUCCESS" {
		t.Error(got)
	}
}

type twoOTP struct{ otp }

func (twoOTP) Actual(_ context.Context, logical mailaddr.Address) (string, bool, error) {
	return "abc@xyz.nl", logical.ASCIIDomain() == "otpnet.nl", nil
}
