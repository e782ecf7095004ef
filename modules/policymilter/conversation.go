package policymilter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/d--j/go-milter"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// conversation is what a milter is told of one submission, on a connection of its own.
type conversation struct {
	p        *Milter
	session  *milter.ClientSession
	macros   *milter.MacroBag
	mailed   bool
	told     map[string]bool // recipients
	accepted bool            // the milter wants to see no more
	long     string          // a header field that was told and that few milters take
	failed   error

	mu   sync.Mutex // conn, which interrupt ends from elsewhere
	conn *conn
}

// begin connects and tells who the client is.
func (c *conversation) begin(ctx context.Context, s *caddymsa.Submission) error {
	if c.session != nil {
		return nil
	}
	nc, err := c.p.dialer.dial(ctx)
	if err != nil {
		return &failure{err}
	}
	c.mu.Lock()
	c.conn = nc
	c.mu.Unlock()
	name, family, address := "localhost", milter.FamilyUnknown, ""
	if s.RemoteIP.IsValid() {
		address, family = s.RemoteIP.Unmap().String(), milter.FamilyInet
		if !s.RemoteIP.Unmap().Is4() {
			family = milter.FamilyInet6
		}
		name = "[" + address + "]"
	}
	c.macros = macros(s, name)
	client := milter.NewClient(c.p.dialer.network, c.p.dialer.address, append(macroRequests(), milter.WithDialer(given{nc}),
		milter.WithReadTimeout(time.Duration(c.p.Timeout)), milter.WithWriteTimeout(time.Duration(c.p.Timeout)))...)
	session, err := client.Session(c.macros)
	if err != nil {
		return &failure{err}
	}
	c.session = session
	if err := c.heed(session.Conn(name, family, 0, address)); err != nil || c.accepted {
		return err
	}
	helo := s.Helo
	if helo == "" {
		helo = name
	}
	return c.heed(session.Helo(helo))
}

// given is a dialer for a connection that is there.
type given struct{ c net.Conn }

func (g given) Dial(string, string) (net.Conn, error) { return g.c, nil }

// mail tells the sender, once.
func (c *conversation) mail(ctx context.Context, s *caddymsa.Submission) error {
	if c.mailed || c.accepted {
		return nil
	}
	if err := c.begin(ctx, s); err != nil || c.accepted {
		return err
	}
	c.mailed = true
	return c.heed(c.session.Mail(s.Entry.Sender, mailArgs(s)))
}

// rcpt tells a recipient, once.
func (c *conversation) rcpt(ctx context.Context, s *caddymsa.Submission, r *queue.Recipient) error {
	if err := c.mail(ctx, s); err != nil || c.accepted || c.told[r.Address] {
		return err
	}
	to, _ := mailaddr.Parse(r.Complete(), true)
	c.macros.Set(milter.MacroRcptAddr, r.Complete())
	c.macros.Set(milter.MacroRcptHost, to.ASCIIDomain())
	if err := c.heed(c.session.Rcpt(r.Complete(), rcptArgs(r))); err != nil {
		return err
	}
	c.told[r.Address] = true
	return nil
}

// maxData is what libmilter takes at once, unless a milter has it take more: of a larger packet it hangs up.
const maxData = 65535

// message tells the message. That a milter hangs up on a field that is too long for it is no passing trouble: the client would submit it
// for ever.
func (c *conversation) message(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	err := c.content(ctx, s, m)
	failed, ok := errors.AsType[*failure](err)
	if !ok || c.long == "" || c.p.OnFailure == caddymsa.FailAccept || errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	return &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "header", Text: "Header field " + c.long + " is too long to be checked", Err: failed.error}
}

// content tells the header and the body, and does what the milter says at the end.
func (c *conversation) content(ctx context.Context, s *caddymsa.Submission, m *caddymsa.Message) error {
	for i := range s.Entry.Recipients {
		if err := c.rcpt(ctx, s, &s.Entry.Recipients[i]); err != nil || c.accepted {
			return err
		}
	}
	c.macros.Set(milter.MacroQueueId, s.Entry.ID)
	if err := c.heed(c.session.DataStart()); err != nil || c.accepted {
		return err
	}
	length, err := c.header(m)
	if err != nil || c.accepted {
		return err
	}
	if err := c.body(ctx, m, length); err != nil || c.accepted {
		return err
	}
	c.conn.patient(time.Duration(c.p.EndTimeout))
	changes, verdict, err := c.session.End()
	if err != nil {
		return &failure{err}
	}
	if err := c.heed(verdict, nil); err != nil {
		return err
	}
	return c.p.change(s, m, changes)
}

// header tells all fields, those that policies in front have put before the message first, and returns
// how many octets of the message that was.
func (c *conversation) header(m *caddymsa.Message) (length int64, err error) {
	all, err := headerOf(m)
	if err != nil {
		return 0, err
	}
	for _, f := range all {
		length += int64(len(f.Raw))
	}
	length -= int64(len(m.Prepended()))
	for _, f := range all {
		if f.Name == "" { // a milter has no word for it
			continue
		}
		_, value, _ := strings.Cut(string(f.Raw), ":")
		if !c.session.ProtocolOption(milter.OptHeaderLeadingSpace) {
			value = strings.TrimPrefix(value, " ")
		}
		value = strings.TrimSuffix(strings.ReplaceAll(value, "\r\n", "\n"), "\n") // as Sendmail and Postfix have it
		if len(f.Name)+len(value)+len("\x00\x00") > maxData {
			c.long = f.Name
		}
		if err := c.heed(c.session.HeaderField(f.Name, value, nil)); err != nil || c.accepted {
			return 0, err
		}
	}
	return length, c.heed(c.session.HeaderEnd())
}

// headerOf has all fields that a milter is told.
func headerOf(m *caddymsa.Message) (message.Header, error) {
	submitted, err := message.HeaderOf(m)
	if err != nil {
		return nil, err
	}
	before, err := message.ReadHeader(strings.NewReader(string(m.Prepended())))
	if err != nil {
		return nil, err
	}
	return append(before, submitted...), nil
}

// chunk is how much of the body goes at once.
const chunk = 65535

// body tells what follows the header and the empty line behind it.
func (c *conversation) body(ctx context.Context, m *caddymsa.Message, header int64) error {
	whole, err := m.Open()
	if err != nil {
		return err
	}
	defer whole.Close()
	r := message.UntilDone(ctx, whole)
	if _, err := io.CopyN(io.Discard, r, header); err != nil && err != io.EOF {
		return err
	}
	if _, err := io.CopyN(io.Discard, r, int64(len("\r\n"))); err != nil && err != io.EOF {
		return err
	}
	buf := make([]byte, chunk)
	for {
		n, err := io.ReadFull(r, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		if n > 0 || err == io.EOF { // an empty chunk for an empty body does no harm
			if err := c.heed(c.session.BodyChunk(buf[:n])); err != nil || c.accepted {
				return err
			}
		}
		if err != nil || c.session.Skip() {
			return nil
		}
	}
}

// heed makes of an answer what the client hears.
func (c *conversation) heed(a *milter.Action, err error) error {
	if err != nil {
		return &failure{err}
	}
	switch a.Type {
	case milter.ActionContinue, milter.ActionSkip:
		return nil
	case milter.ActionAccept:
		c.accepted = true
		c.close()
		return nil
	case milter.ActionDiscard:
		// What is accepted is delivered, so that the client must hear of it.
		return caddymsa.Refuse("discard", "Message refused")
	case milter.ActionReject:
		return caddymsa.Refuse("reject", "Message refused")
	case milter.ActionTempFail:
		return &caddymsa.Refusal{Code: 451, Status: smtp.EnhancedCode{4, 7, 1}, Rule: "tempfail", Text: "Try again later"}
	case milter.ActionRejectWithCode:
		return refusal(int(a.SMTPCode), a.SMTPReply)
	}
	return &failure{fmt.Errorf("unknown answer %v", a)}
}

// interrupt ends what is under way, from elsewhere.
func (c *conversation) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.end()
	}
}

// close ends the conversation. It waits for nothing.
func (c *conversation) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return
	}
	if c.session != nil {
		_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.session.Close()
	}
	_ = c.conn.Close()
	c.conn = nil
}
