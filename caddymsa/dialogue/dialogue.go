// Package dialogue submits a message as a client does, and tells what both sides say.
package dialogue

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

// Client is who submits.
type Client struct {
	TLS      *tls.Config
	Implicit bool   // TLS from the first byte; else STARTTLS
	Helo     string // the name to give in EHLO
	Host     string // the server's name, for DIGEST-MD5
	Timeout  time.Duration

	User, Password, Token string
	Certificate           bool   // TLS has one to log in with
	Mechanism             string // empty: the best that both sides know
	Realm                 string // for DIGEST-MD5; empty: the first offered

	From string
	To   []string
}

// ErrNoGreeting is that a server says nothing, or nothing of SMTP, to who connects.
var ErrNoGreeting = errors.New("the server does not greet")

// dialogue is a connection whose lines are told as they go by.
type dialogue struct {
	o    *Client
	out  io.Writer
	nc   net.Conn
	text *textproto.Conn
	auth []string // mechanisms that the server offers
}

// Send submits a message over a connection, which it closes, and writes what is said, a line each: "C: ...", "S: ..." and, of
// TLS, "-- ...". Passwords are not among it.
func (o *Client) Send(nc net.Conn, message []byte, out io.Writer) error {
	d := &dialogue{o: o, out: out}
	defer func() { d.nc.Close() }()
	d.use(nc)
	if o.Implicit {
		if err := d.handshake(o.TLS); err != nil {
			return err
		}
	}
	if _, err := d.read(220); err != nil {
		if _, said := errors.AsType[*textproto.Error](err); !said {
			err = fmt.Errorf("%w: %w", ErrNoGreeting, err)
		}
		return err
	}
	if err := d.ehlo(); err != nil {
		return err
	}
	if !o.Implicit {
		if _, err := d.command(220, "STARTTLS"); err != nil {
			return err
		}
		if err := d.handshake(o.TLS); err != nil {
			return err
		}
		if err := d.ehlo(); err != nil {
			return err
		}
	}
	if o.authenticates() {
		if err := d.authenticate(); err != nil {
			return err
		}
	}
	return d.submit(message)
}

func (d *dialogue) use(nc net.Conn) {
	d.nc, d.text = nc, textproto.NewConn(nc)
}

func (d *dialogue) handshake(config *tls.Config) error {
	conn := tls.Client(d.nc, config)
	_ = conn.SetDeadline(time.Now().Add(d.o.Timeout))
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	state := conn.ConnectionState()
	fmt.Fprintf(d.out, "-- %s, %s, certificate of %s\n", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite),
		terminal.Line(strings.Join(certificateNames(state.PeerCertificates), ", ")))
	d.use(conn)
	return nil
}

func certificateNames(chain []*x509.Certificate) (names []string) {
	if len(chain) == 0 {
		return nil
	}
	names = slices.Clone(chain[0].DNSNames)
	for _, ip := range chain[0].IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// read reads one reply and prints it. Another code than wanted is an error.
func (d *dialogue) read(want int) (string, error) {
	_ = d.nc.SetDeadline(time.Now().Add(d.o.Timeout))
	code, text, err := d.text.ReadResponse(0)
	var reply *textproto.Error
	if err != nil && !errors.As(err, &reply) {
		return "", err
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		fmt.Fprintf(d.out, "S: %d%s%s\n", code, sep, terminal.Line(line))
	}
	if code != want && (want != 250 || code != 251) { // 251: it will forward (RFC 5321 section 4.2.3)
		return "", fmt.Errorf("the server refused: %d %s", code, lines[len(lines)-1])
	}
	return text, nil
}

// command writes a line and reads its reply. What is shown of it may be less.
func (d *dialogue) command(want int, line string, shown ...string) (string, error) {
	fmt.Fprintf(d.out, "C: %s\n", append(shown, line)[0])
	_ = d.nc.SetDeadline(time.Now().Add(d.o.Timeout))
	if err := d.text.PrintfLine("%s", line); err != nil {
		return "", err
	}
	return d.read(want)
}

func (d *dialogue) ehlo() error {
	text, err := d.command(250, "EHLO "+d.o.Helo)
	if err != nil {
		return err
	}
	d.auth = nil
	for _, line := range strings.Split(text, "\n") {
		if words := strings.Fields(line); len(words) > 1 && strings.EqualFold(words[0], "AUTH") {
			d.auth = words[1:]
		}
	}
	return nil
}

// authenticate runs AUTH. What the client sends is not printed.
func (d *dialogue) authenticate() error {
	client, err := d.client()
	if err != nil {
		return err
	}
	mechanism, response, err := client.Start()
	if err != nil {
		return err
	}
	line, shown := "AUTH "+mechanism, "AUTH "+mechanism
	if response != nil {
		line, shown = line+" "+encode(response), shown+" ****"
	}
	for {
		fmt.Fprintf(d.out, "C: %s\n", shown)
		_ = d.nc.SetDeadline(time.Now().Add(d.o.Timeout))
		if err := d.text.PrintfLine("%s", line); err != nil {
			return err
		}
		challenge, err := d.challenge()
		if err != nil || challenge == nil {
			return err
		}
		if response, err = client.Next(challenge); err != nil {
			return err
		}
		line, shown = "", ""
		if len(response) > 0 {
			line, shown = base64.StdEncoding.EncodeToString(response), "****"
		}
	}
}

// encode is an initial response, whose empty form is "=" (RFC 4954 section 4).
func encode(response []byte) string {
	if len(response) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(response)
}

// challenge reads a 334, or the end of the exchange: nil.
func (d *dialogue) challenge() ([]byte, error) {
	code, text, err := d.text.ReadResponse(0)
	var reply *textproto.Error
	if err != nil && !errors.As(err, &reply) {
		return nil, err
	}
	fmt.Fprintf(d.out, "S: %d %s\n", code, terminal.Line(text))
	switch code {
	case 235:
		return nil, nil
	case 334:
		challenge, err := base64.StdEncoding.DecodeString(text)
		if challenge == nil {
			challenge = []byte{}
		}
		return challenge, err
	}
	return nil, fmt.Errorf("the server refused: %d %s", code, text)
}

// submit runs the transaction and says goodbye.
func (d *dialogue) submit(message []byte) error {
	if _, err := d.command(250, "MAIL FROM:<"+d.o.From+">"); err != nil {
		return err
	}
	for _, to := range d.o.To {
		if _, err := d.command(250, "RCPT TO:<"+to+">"); err != nil {
			return err
		}
	}
	if _, err := d.command(354, "DATA"); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "C: (%d octets)\nC: .\n", len(message))
	w := d.text.DotWriter()
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if _, err := d.read(250); err != nil {
		return err
	}
	_, _ = d.command(221, "QUIT") // the message is taken, however the server says goodbye
	return nil
}
