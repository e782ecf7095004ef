package nexthop

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// session is one message on one connection.
type session struct {
	*peer
	delivery *queue.Delivery
	mta      string
	lmtp     bool

	usable bool // the next transaction may begin on the connection
	dead   bool // it was over before the next hop said anything
}

// run sends the message. Its error is for the recipients without a Report.
func (s *session) run() error {
	message, err := s.delivery.Open()
	if err != nil {
		s.usable = true
		return fmt.Errorf("open message: %w", err)
	}
	defer message.Close()
	todo, err := s.admit(message)
	if err != nil || len(todo) == 0 {
		s.usable = true
		return err
	}
	if err := s.client.Mail(s.delivery.Entry.Sender, s.mailOptions()); err != nil {
		s.dead = isDead(err)
		return s.refused("MAIL", err, todo)
	}
	var accepted []*queue.Recipient
	for _, r := range todo {
		err := s.client.Rcpt(r.Address, rcptOptions(r))
		if err == nil {
			accepted = append(accepted, r)
			continue
		}
		tooMany(err)
		err = s.refused("RCPT", err, []*queue.Recipient{r})
		if !s.usable {
			return err
		}
		s.delivery.Report(r, err)
	}
	if len(accepted) == 0 {
		s.reset()
		return nil
	}
	data, err := s.client.Data()
	if err != nil {
		err = s.refused("DATA", err, accepted)
		s.reset()
		return err
	}
	s.usable = false
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	if err := writeBody(s.conn, message, b); err != nil {
		return fmt.Errorf("message: %w", err) // and no dot: half a message is none
	}
	if s.lmtp {
		return s.endLMTP(data, accepted)
	}
	if _, err := data.CloseWithResponse(); err != nil {
		return s.refused("end of message", err, accepted)
	}
	s.sent++
	s.usable = true
	dsn, _ := s.client.Extension("DSN")
	for _, r := range accepted {
		s.delivery.Relayed(r, dsn)
	}
	return nil
}

// refused makes an error of what the client returned, which is for rcpts, and
// notes what it means for the connection.
func (s *session) refused(what string, err error, rcpts []*queue.Recipient) error {
	reply := ReplyOf(err)
	if reply == nil { // no reply, or none that could be read
		s.usable = false
		return fmt.Errorf("%s: %w", what, err)
	}
	if reply.Code/100 != 4 && reply.Code/100 != 5 { // it answers something else
		s.usable = false
		return fmt.Errorf("%s: unexpected reply: %s", what, reply.Error())
	}
	s.usable = reply.Code != 421
	for _, r := range rcpts {
		r.RemoteMTA = s.mta
	}
	switch reply.Code {
	case 530, 534, 535, 538: // log in first, or otherwise: no fault of the message
		return fmt.Errorf("%s: %s", what, reply.Error())
	}
	return reply
}

// tooMany makes 452 of a 552 that means too many recipients (RFC 5321, section
// 4.5.3.1.10), as it does unless its enhanced code says something else.
func tooMany(err error) {
	reply := ReplyOf(err)
	if reply == nil || reply.Code != 552 {
		return
	}
	if c := reply.EnhancedCode; c == (smtp.EnhancedCode{}) || c == (smtp.EnhancedCode{5, 5, 3}) {
		reply.Code, reply.EnhancedCode = 452, smtp.EnhancedCode{4, 5, 3}
	}
}

// reset takes back a transaction. The client wants a new EHLO after that; if it
// came later, its failure would look like a next hop that offers nothing.
func (s *session) reset() {
	s.usable = s.usable && s.client.Reset() == nil && s.client.Hello(s.helo) == nil
}

// ReplyOf returns the reply that err is or wraps, or nil.
func ReplyOf(err error) *smtp.SMTPError {
	var reply *smtp.SMTPError
	if errors.As(err, &reply) {
		return reply
	}
	return nil
}

// isDead reports whether MAIL met a connection that was over already. A timeout
// is none: the next hop is there and does not answer.
func isDead(err error) bool {
	if reply := ReplyOf(err); reply != nil {
		return reply.Code == 421
	}
	var netErr net.Error
	return !errors.As(err, &netErr) || !netErr.Timeout()
}

// admit checks what the next hop can take, and returns the recipients that may
// be tried. Others have their Report, or the error is for all.
func (s *session) admit(message io.ReadSeeker) ([]*queue.Recipient, error) {
	e := s.delivery.Entry
	if limit, ok := s.client.MaxMessageSize(); ok && limit > 0 && e.Size > int64(limit) {
		return nil, permanent(552, 5, 3, 4, "Message is larger than the next hop takes")
	}
	eight, _ := s.client.Extension("8BITMIME")
	utf8, _ := s.client.Extension("SMTPUTF8")
	if eight && (utf8 || !e.SMTPUTF8) {
		return s.delivery.Recipients, nil
	}
	if !eight || !utf8 {
		header8, body8, err := scan(message)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		switch {
		case !utf8 && e.SMTPUTF8 && (header8 || !isASCII(e.Sender)):
			return nil, permanent(550, 5, 6, 7, "The next hop takes no internationalized mail")
		case !eight && (header8 || body8):
			return nil, permanent(554, 5, 6, 3, "The next hop takes no 8-bit mail, and it is not converted")
		}
	}
	if utf8 {
		return s.delivery.Recipients, nil
	}
	var todo []*queue.Recipient
	for _, r := range s.delivery.Recipients {
		if isASCII(r.Address) {
			todo = append(todo, r)
		} else {
			s.delivery.Report(r, permanent(553, 5, 6, 7, "The next hop takes no internationalized addresses"))
		}
	}
	return todo, nil
}

func permanent(code, class, subject, detail int, message string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: message}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
