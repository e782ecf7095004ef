package queue_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// A notification that is refused for what it carries is sent again with the header only, then as text alone; what is
// refused for another reason, and the text alone, is the end.
func TestSmallerNotification(t *testing.T) {
	tooLarge := &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "too large"}
	noUTF8 := &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 7}, Message: "UTF-8"}
	failed := &smtp.SMTPError{Code: 554, Message: "Transaction failed"}
	tooLong := &smtp.SMTPError{Code: 500, EnhancedCode: smtp.EnhancedCode{5, 5, 2}, Message: "line too long"}
	virus := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "virus found"}
	disabled := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 2, 1}, Message: "mailbox disabled"}
	unknown := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "unknown"}
	for _, tt := range []struct {
		name        string
		full, small error // what a notification with the body hears, and one with the header
		text        error
		calls       int
	}{
		{"taken", nil, nil, nil, 1},
		{"too large", tooLarge, nil, nil, 2},
		{"too large, header too", tooLarge, tooLarge, nil, 3},
		{"UTF-8", noUTF8, noUTF8, nil, 3},
		{"text alone refused", tooLarge, noUTF8, tooLarge, 3},
		{"no reason", failed, failed, nil, 3},
		{"long lines", tooLong, nil, nil, 2},
		{"virus", virus, nil, nil, 2},
		{"unknown", unknown, nil, nil, 1},
		{"disabled", disabled, nil, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bounces := newSink(func(_ context.Context, d *queue.Delivery) error {
				m, err := d.Open()
				if err != nil {
					return err
				}
				defer m.Close()
				b, err := io.ReadAll(m)
				switch text := string(b); {
				case err != nil:
					return err
				case strings.Contains(text, "Body text"):
					return tt.full
				case strings.Contains(text, "text/rfc822-headers"):
					return tt.small
				}
				return tt.text
			})
			run(t, bouncesTo(bounces, newSink(byAddress)), func(r *rig) {
				r.Start()
				r.submit("Q1", func(e *queue.Entry) { e.Return = "FULL" }, "gone@example.net")
				r.after(10 * time.Minute)
				all := bounces.all()
				if len(all) != tt.calls {
					t.Fatalf("%d notifications", len(all))
				}
				for _, c := range all {
					if c.rcpts != "alice@example.org" || c.entry.Sender != "" || !c.entry.Bounce || !strings.Contains(c.message, "gone@example.net") || c.entry.Size != int64(len(c.message)) {
						t.Errorf("%+v\n%s", c.entry, c.message)
					}
				}
				r.mustNotHave("Q1", "BOUNCE1", "BOUNCE2", "BOUNCE3", "BOUNCE4")
				lost := 0
				if tt.name == "text alone refused" || tt.calls == 1 && tt.full != nil {
					lost = 1
				}
				r.mustLog(zap.ErrorLevel, "failure that nobody is told of", lost)
			})
		})
	}
}
