package dsn

import (
	"bytes"
	"fmt"
)

// statusExpired is the status of a message that was tried for too long (RFC 3463).
const statusExpired = "5.4.7"

// subject names the worst that befell a recipient.
func subject(r *Report) string {
	subject := "Your message was delivered"
	for i := range r.Recipients {
		switch r.Recipients[i].Action {
		case Failed:
			return "Your message could not be delivered"
		case Delayed:
			subject = "Your message is delayed"
		}
	}
	return subject
}

// human is the part for people, who read UTF-8 whatever the message came with.
func human(r *Report) original {
	text := printer{utf8: true}.text(r)
	switch {
	case !eightBit(text):
		return original{"text/plain; charset=us-ascii", "7bit", bytes.NewReader(text)}
	case r.UTF8:
		return original{"text/plain; charset=utf-8", "8bit", bytes.NewReader(text)}
	}
	return original{"text/plain; charset=utf-8", quotedPrintable, inASCII(text)}
}

// text is what it says.
func (p printer) text(r *Report) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "This is the mail system at %s.\r\n", p.clean(r.Hostname, maxAddress))
	for _, kind := range []struct {
		action Action
		intro  string
	}{
		{Failed, "Your message could not be delivered to:"},
		{Delayed, "Your message could not be delivered yet to the following; delivery is\r\nbeing tried again, and you need not send it again:"},
		{Delivered, "Your message was delivered to:"},
		{Relayed, "Your message was passed on, to a system that does not confirm delivery, for:"},
	} {
		first := true
		for i := range r.Recipients {
			rcpt := &r.Recipients[i]
			if rcpt.Action != kind.action {
				continue
			}
			if first {
				fmt.Fprintf(&b, "\r\n%s\r\n", kind.intro)
				first = false
			}
			fmt.Fprintf(&b, "\r\n  %s\r\n", p.clean(rcpt.Final, maxAddress))
			p.explain(&b, rcpt)
		}
	}
	if !r.Arrival.IsZero() {
		fmt.Fprintf(&b, "\r\nThe message was accepted on %s.\r\n", mailDate(r.Arrival))
	}
	return b.Bytes()
}

func (p printer) explain(b *bytes.Buffer, r *Recipient) {
	expired := r.Action == Failed && r.Status == statusExpired
	diagnostic := p.clean(r.Diagnostic, maxText)
	if expired {
		b.WriteString("    It was tried again and again until its time was over.\r\n")
	}
	switch by := p.clean(r.RemoteMTA, maxAddress); {
	case diagnostic != "" && by != "":
		fmt.Fprintf(b, "    %s said: %s\r\n", by, diagnostic)
	case diagnostic != "":
		fmt.Fprintf(b, "    Reason: %s\r\n", diagnostic)
	case r.Action == Failed && !expired:
		fmt.Fprintf(b, "    Reason: not known to this system; its operator can look it up (status %s)\r\n", r.status())
	}
	if r.Action == Delayed && !r.WillRetryUntil.IsZero() {
		fmt.Fprintf(b, "    It is tried until %s.\r\n", mailDate(r.WillRetryUntil))
	}
}
