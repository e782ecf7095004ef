package running

import (
	"context"
	"crypto/tls"
	"io"
	"net"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// Submission is a server whose clients come by another protocol than SMTP, and are held to all that it holds
// those of SMTP to.
//
// Errors here and below that are for the client are of *smtp.SMTPError, with what SMTP would answer; where a
// policy says no they are a *Refusal. Any other error is a fault of ours.
type Submission interface {
	// Admit counts a client in. Leave must be called.
	Admit(c *Client) (Visitor, error)
}

// KeyReused is what a client hears that gives the key of one request to another.
const KeyReused = "This Idempotency-Key was used for another request"

// Client is where a request comes from.
type Client struct {
	// Addr is the client's address. What is no IP address, such as a unix socket's peer, is not throttled.
	Addr net.Addr
	// TLS of the connection; nil: none that is known.
	TLS *tls.ConnectionState
	// MakeRoom is called, perhaps by another goroutine, if the client is to leave for others before it has logged in.
	MakeRoom func()
}

// Visitor is a client that has not logged in.
type Visitor interface {
	// Mechanisms are the SASL mechanisms that the server offers now.
	Mechanisms() []string
	// Login makes one attempt with a mechanism whose client says one thing only: PLAIN or OAUTHBEARER. What the
	// mechanism's server has said beside an error is returned with it.
	Login(ctx context.Context, mechanism string, response []byte) (s Submitter, said []byte, err error)
	// Leave ends all, once.
	Leave()
}

// Submitter is a client that has logged in.
type Submitter interface {
	// Begin checks the envelope and begins its message. A *smtpd.RecipientsError says which recipients are refused.
	// once makes it the only message with its key; nil: it is one more.
	Begin(ctx context.Context, e *smtpd.Envelope, once *Once) (Draft, error)
	// Earlier tells what was accepted with a key of the user's, and keeps others with the same key out until release is
	// called. It is not ok while another request with the key is under way. Nil: nothing was.
	Earlier(ctx context.Context, key string) (first *Accepted, release func(), ok bool, err error)
	// Bounds are those of a message's octets.
	Bounds() smtpd.Bounds
	// Scratch keeps octets until they can be written into a message, where the octets of messages are kept.
	Scratch(ctx context.Context) (Scratch, error)
	// Refused tells of what was refused before it came to Begin, for log, journal and metrics.
	Refused(r smtpd.Refusal)
	// Own gives access to the user's messages.
	Own
}

// Own is what became of a user's own messages. ErrNoMessage: there is none of the user's with that id.
type Own interface {
	// Message tells what has become of one.
	Message(ctx context.Context, id string) (*Message, error)
	// TakeBack has one not be delivered any more. ErrTooLate: nothing of it is left to take back.
	TakeBack(ctx context.Context, id string) (*Message, error)
}

// Once is a key that a client gives its request, so that it can be sent again.
type Once struct {
	Key string
	// Sum is of all that the client has sent, asked for when that has come.
	Sum func() [32]byte
}

// Accepted is a message that was accepted with a key.
type Accepted struct {
	ID  string
	Sum [32]byte
}

// Scratch is octets that are kept for a while, and survive nothing.
type Scratch interface {
	io.Writer
	// Reader opens what has been written so far, from its start.
	Reader() (io.ReadCloser, error)
	// Abort leaves nothing of it.
	Abort()
}

// Draft is a message on its way in. Commit or Abort ends it.
type Draft interface {
	io.Writer
	// Commit returns the reply that accepts the message, with its queue id: it is durable then.
	Commit(ctx context.Context) (smtpd.Reply, error)
	// Abort forgets it; after Commit, or again, it does nothing.
	Abort(cause error)
}

// Refusal is a policy's no.
type Refusal struct {
	*smtp.SMTPError
	Policy, Rule string
}

// Unwrap is the reply alone.
func (r *Refusal) Unwrap() error { return r.SMTPError }
