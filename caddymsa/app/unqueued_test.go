package app

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// What the client gets of a delivery that it waited for: the sink's code, and nothing of our insides.
func TestDirectReply(t *testing.T) {
	for _, tt := range []struct {
		err  error
		late bool
		want string
	}{
		{&smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "Unknown\r\nuser"}, false, "550 5.1.1 Unknown user"},
		{&smtp.SMTPError{Code: 452, Message: "later"}, false, "452 4.0.0 later"},
		{&smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "bye"}, false, "451 4.4.1 bye"},
		{&smtp.SMTPError{Code: 521, EnhancedCode: smtp.EnhancedCode{5, 3, 2}, Message: "no mail"}, false, "554 5.3.2 no mail"},
		{&smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{4, 0, 0}, Message: "odd"}, false, "550 5.0.0 odd"},
		{queue.Permanent(errors.New("open /srv/mail: denied")), false, "554 5.0.0 Message cannot be delivered"},
		{queue.Unreachable(errors.New("dial tcp 10.0.0.1:25: refused")), false, "451 4.4.1 Message cannot be delivered now, try again later"},
		{errors.New("context deadline exceeded"), true, "451 4.4.1 Delivery takes too long, try again later"},
	} {
		got := caddymsa.ReplyText(toReply(&directError{err: tt.err, outcome: queue.OutcomeOf(tt.err), late: tt.late}))
		if got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestUnstored(t *testing.T) {
	body := strings.Repeat("0123456789", 100)
	u, err := newUnstored([]byte("Received: x\r\n"), int64(len(body)), func() (io.ReadCloser, error) {
		return io.NopCloser(iotest.HalfReader(strings.NewReader(body))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := iotest.TestReader(u, []byte("Received: x\r\n"+body)); err != nil {
		t.Error(err)
	}
}

// A reload waits for no delivery: one that the client waits for is interrupted, and the client comes again.
func TestUnqueuedReload(t *testing.T) {
	in := newInstance(t)
	configured := []func(server, app map[string]any){withAppField("grace_period", "10m"),
		with("routes", []any{map[string]any{"name": "now", "sink": in.fake("now"), "unqueued": map[string]any{"timeout": "10m"}}})}
	in.load(configured...)
	entered := make(chan struct{})
	in.mail.change(func() {
		in.mail.sink = func(ctx context.Context, d *queue.Delivery, _ *queue.Recipient) error {
			close(entered)
			select {
			case <-ctx.Done():
			case <-time.After(patience):
				t.Error("the reload waits")
				return errors.New("nobody interrupted it")
			}
			if d.Final() == nil {
				t.Error("a delivery that was interrupted may go on")
			}
			return ctx.Err()
		}
	})
	c := in.session()
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	<-entered
	in.load(append(configured, with("received", "no_client"))...)
	c.want("451 4.4.1 Message cannot be delivered now, try again later")
	in.mail.change(func() { in.mail.sink = nil })
	c.envelope("bob@example.net")
	c.do("DATA", "354")
	c.send(letter + ".\r\n")
	c.want("250 2.0.0 Ok: delivered as ")
}

// What is behind its end of data cannot be taken back.
func TestUnqueuedFinal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &recallable{cancel: cancel}
	if err := r.makeFinal(); err != nil {
		t.Fatal(err)
	}
	r.recall()
	if err := r.makeFinal(); err != nil || ctx.Err() != nil || r.isRecalled() {
		t.Errorf("it was ended: %v, %v", err, ctx.Err())
	}
}
