package smtpd

import (
	"context"
	"crypto/tls"
	"io"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// Backend is what stands behind the dialogue: it says what is in force now and
// gives each client a session.
type Backend interface {
	// Settings returns what is in force now. It is asked at each command, so
	// that a reload reaches the sessions that are open; the value returned must
	// not change afterwards. nil means that nobody serves this socket any more:
	// the client hears 421 and the connection closes.
	Settings() *Settings

	// NewSession is called once a connection, before the greeting and before the
	// handshake of implicit TLS. An error refuses the client (421 unless it is an
	// *smtp.SMTPError; without a word where TLS comes first).
	NewSession(c *Conn) (Session, error)
}

// Settings are the rules of the dialogue under one configuration. The zero
// value of a limit or time-out means the default named beside it.
type Settings struct {
	// Hostname is what the server calls itself in the greeting and EHLO.
	Hostname string
	// TLS is used for STARTTLS and for implicit TLS. Required.
	TLS *tls.Config
	// AnnounceBeforeTLS are the SASL mechanisms that EHLO names in clear text,
	// where AUTH itself is refused. Nil, or an empty list: no AUTH line.
	AnnounceBeforeTLS func() []string

	MessageSize int64 // octets in a message; 52428800
	Recipients  int   // of one message; 1000
	// Priority is the highest that a client may ask for with MT-PRIORITY (RFC 6710), which is
	// lowered to it. Zero: the extension is not offered.
	Priority     int
	BadCommands  int // in a session before 421; 20
	AuthFailures int // in a session before 421, whatever their code; 3
	// CommandsBeforeAuth is how many commands, good or bad, a client may send before it
	// has authenticated; then 421. 100
	CommandsBeforeAuth int
	CommandLine        int // octets in a command; 2048
	AuthLine           int // octets in a line of AUTH; 12288 (RFC 4954 section 4), MaxLine at most
	// Skip is how many octets of an overlong line, or of a stranger's chunk, are read to
	// be dropped; 65536
	Skip int64

	Handshake   time.Duration // for the TLS handshake; 10s
	BeforeAuth  time.Duration // from accept to a successful AUTH; 60s
	Command     time.Duration // of waiting for a command; 5m (RFC 5321 4.5.3.2.7)
	Data        time.Duration // of waiting for a block of a message; 3m (4.5.3.2.5)
	Write       time.Duration // for a client to take a reply; 3m
	SessionTime time.Duration // for a session in all; 24h

	// DataRate is the least number of octets a second that a message body must
	// bring, averaged over the body after DataGrace. Zero: 100; negative: none.
	DataRate  int64
	DataGrace time.Duration // 1m

	// NormalizeNewlines stores bare CR and bare LF as CRLF and drops NUL. By
	// default a message with one of them is refused with 554 5.6.0.
	NormalizeNewlines bool
}

// Session is one client's dealings with the server. All calls come from the
// goroutine that owns the connection, one at a time.
//
// Errors: an *smtp.SMTPError is sent as it is, and a code of 421 closes the
// connection. Any other error is answered 451 4.3.0 without its text.
type Session interface {
	// Mechanisms are the SASL mechanisms that this client may use now, within
	// TLS, in the order they are announced.
	Mechanisms() []string
	// Auth starts an exchange; ctx ends with the connection. When the returned
	// server is done without error, the client counts as authenticated.
	// Errors of its Next follow the rule above. If it is an io.Closer, it is
	// closed when the exchange is over.
	Auth(ctx context.Context, mechanism string) (sasl.Server, error)
	// Mail begins a transaction. Only authenticated clients get here.
	Mail(ctx context.Context, from mailaddr.Address, opts *MailOptions) (Transaction, error)
	// Refused tells of an EHLO, HELO, AUTH, MAIL, RCPT, DATA or BDAT that the engine refused
	// itself. What the session's own errors refuse, the session knows.
	Refused(r Refusal)
	// Close ends the session, once, whatever became of it.
	Close(end End)
}

// Securer is what a Session can be besides: it hears of each TLS handshake, with the error of one that failed.
// After one that succeeded Conn.TLS has what was agreed on.
type Securer interface {
	Secured(err error)
}

// Transaction is a message on its way in, from MAIL to the end of data.
type Transaction interface {
	// Rcpt adds a recipient, or refuses it.
	Rcpt(ctx context.Context, to mailaddr.Address, opts *RcptOptions) error
	// Begin opens the body, after DATA or the first BDAT. Called at most once,
	// with at least one recipient accepted. An error refuses the DATA command
	// (before 354) or the chunk, and the transaction with it.
	Begin(ctx context.Context) (Body, error)
	// Abort ends a transaction that never had a body: RSET, EHLO, a lost
	// connection. It is not called after Begin succeeded.
	Abort()
}

// Body receives the octets of a message, dots unstuffed, exactly as sent.
// Commit or Abort ends it and its transaction.
type Body interface {
	io.Writer
	// Commit is called at the end of a whole message. It returns the reply that
	// accepts it: the message is then durable.
	Commit(ctx context.Context) (Reply, error)
	// Abort forgets a message that did not come whole or was refused; cause
	// says why.
	Abort(cause error)
}

// Reply is a positive answer.
type Reply struct {
	Code     int
	Enhanced smtp.EnhancedCode
	Text     string
	ID       string // the message's, where it names one
}

// MailOptions are the parameters of MAIL FROM.
type MailOptions struct {
	smtp.MailOptions
	// ExactPath is the reverse path as it stood on the wire, without the angle brackets.
	ExactPath string
	// Priority is MT-PRIORITY, from -9 to 9.
	Priority int
}

// RcptOptions are the parameters of RCPT TO.
type RcptOptions struct {
	smtp.RcptOptions
	// ORCPT is the parameter's value as sent (address type, semicolon, xtext),
	// of any registered type. Empty: none.
	ORCPT string
}

// ReasonBareLF is the Reason of a command that did not end in CRLF.
const ReasonBareLF = "A line must end in CRLF, not in LF alone"

// Refusal is a command that the engine refused.
type Refusal struct {
	Verb string // in upper case
	// Arg is what followed it, cut to a few hundred octets; of AUTH only the mechanism, of BDAT only
	// the size, and nothing where a secret may stand,
	// as in a line that was refused for its form.
	Arg    string
	Reply  *smtp.SMTPError // what the client heard: the 421 where a limit was reached
	Reason string          // why this command was refused
}

// End tells how a session ended.
type End struct {
	// Reason is one of the constants below.
	Reason string
	// Err is the cause, for the log; nil for QUIT.
	Err error
	// Commands and BadCommands count what the client sent.
	Commands, BadCommands int
	// Tried are the verbs that a client sent which never came to TLS, each once.
	Tried []string
	// Spoke names another protocol than the one that was due: "TLS" where clear text was
	// due; "SMTP" in clear text where TLS was due; "HTTP". Empty: none that is known.
	Spoke string
	// Panic holds the value and the stack of a panic in the session.
	Panic string
}

// Reasons of an End.
const (
	EndQuit         = "quit"          // the client said QUIT
	EndLost         = "lost"          // the connection broke, or the client left without a word
	EndTimeout      = "timeout"       // one of the time-outs
	EndBadCommands  = "bad_commands"  // too many of them
	EndCommands     = "commands"      // too many of them before AUTH
	EndAuthFailures = "auth_failures" // too many of them
	EndCrowded      = "crowded"       // Conn.MakeRoom
	EndTLS          = "tls"           // the handshake failed, or clear text followed STARTTLS
	EndRefused      = "refused"       // a 421 of the session's
	EndShutdown     = "shutdown"      // Conn.Shutdown, or no settings any more
	EndPanic        = "panic"
)
