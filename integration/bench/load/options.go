// Package load drives a submission server as clients would, and measures it: many
// sessions of connect, STARTTLS, AUTH, messages and QUIT, each command awaiting its
// reply.
package load

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// How a session comes to TLS.
const (
	StartTLS = "starttls"
	Implicit = "implicit"
	Plain    = "none"
)

// Options say what the clients do.
type Options struct {
	Addr string // host:port of the server
	TLS  string // StartTLS (default), Implicit or Plain
	HTTP bool   // Addr is a web site's with HTTPS, which takes messages at /send/
	JSON bool   // they come as JSON there

	User, Password string // for AUTH PLAIN; without User there is no AUTH
	From, To       string // the envelope; default User, and someone at example.net
	Recipients     int    // of a message, default 1; %d in To is each one's number

	Clients  int // sessions at a time; default 1
	Messages int // of one session; default 1
	Size     int // octets of a message, at least its header; default 4 KiB

	// No session begins, and no message within one, after Duration or when
	// Sessions have begun, whichever comes first. One of them is required.
	Duration time.Duration
	Sessions int

	Warmup  time.Duration // what ends within it is not in the numbers; default none
	Timeout time.Duration // of a whole session; default 60 s
}

// prepared is what all sessions of a run share.
type prepared struct {
	Options
	tls   *tls.Config
	text  []byte
	auth  string // the command
	mail  string
	rcpt  []string
	hello string

	request []byte // by HTTP
}

func (o Options) prepare() (*prepared, error) {
	if o.Duration <= 0 && o.Sessions <= 0 {
		return nil, fmt.Errorf("a duration or a number of sessions is required")
	}
	setDefault(&o.TLS, StartTLS)
	setDefault(&o.From, o.User)
	setDefault(&o.To, "someone@example.net")
	setDefault(&o.Recipients, 1)
	setDefault(&o.Clients, 1)
	setDefault(&o.Messages, 1)
	setDefault(&o.Size, 4<<10)
	setDefault(&o.Timeout, time.Minute)
	p := &prepared{
		Options: o,
		text:    text(o.From, o.To, o.Size),
		mail:    "MAIL FROM:<" + o.From + ">\r\n",
		hello:   "EHLO load.example\r\n",
		tls: &tls.Config{
			// The generator shares its cores with the server, so it checks the
			// handshake's signature but not the certificate's.
			InsecureSkipVerify: true,
			ServerName:         "localhost",
			// One group, so that servers with and without ML-KEM do the same work.
			CurvePreferences: []tls.CurveID{tls.X25519},
			// Tickets are asked for, as nearly all clients do, and thrown away.
			ClientSessionCache: forgetful{},
			// Records as large as the write, as OpenSSL's are.
			DynamicRecordSizingDisabled: true,
		},
	}
	for i := range o.Recipients {
		p.rcpt = append(p.rcpt, "RCPT TO:<"+recipient(o.To, i)+">\r\n")
	}
	if o.HTTP {
		p.request = p.post()
	}
	if o.User != "" {
		p.auth = "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+o.User+"\x00"+o.Password)) + "\r\n"
	}
	return p, nil
}

// recipient is the address of a number.
func recipient(to string, n int) string { return strings.ReplaceAll(to, "%d", strconv.Itoa(n)) }

// forgetful is a session cache without a memory.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
