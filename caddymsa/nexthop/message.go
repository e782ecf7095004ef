package nexthop

import (
	"io"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Message is what goes to a next hop.
type Message struct {
	Sender  string // exact reverse path, "" for <>
	Options MailOptions
	// Recipients without an outcome yet. A copy goes to each once, however often it is given.
	Recipients []*Recipient

	// Open reads the message from its start, with CRLF line ends.
	Open func() (io.ReadSeekCloser, error)

	// Hello is the name in EHLO where Options have none.
	Hello string

	// Report tells what became of a recipient, as soon as that is known. Those that are not
	// reported share the error of Deliver.
	Report func(*Recipient, Outcome)

	// Final, if not nil, is asked before the end of data is sent, after which the hop may have the
	// message. An error means that it shall not, and ends the attempt.
	Final func() error
}

// MailOptions are the parameters of MAIL. Those that the next hop does not offer are left out.
type MailOptions struct {
	smtp.MailOptions
	// Priority is MT-PRIORITY (RFC 6710), from -9 to 9.
	Priority int
}

// Recipient is one of a message's recipients.
type Recipient struct {
	Address string // exact forward path
	Options RcptOptions

	domain string             // in lower case
	done   bool               // it was reported
	of     []*queue.Recipient // whom it stands for, of a queue's
}

// RcptOptions are the parameters of RCPT.
type RcptOptions struct {
	smtp.RcptOptions
	// ORCPT is that parameter's value as it was sent, of any address type, in the place of
	// OriginalRecipient.
	ORCPT string
}
