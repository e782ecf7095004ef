package smtpd

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/xtext"
)

func (c *Conn) cmdMAIL(arg string) error {
	c.excuse()
	err := c.begins(arg)
	if c.tx != nil {
		c.excuses = 0
	}
	return err
}

// begins begins a transaction, or refuses MAIL.
func (c *Conn) begins(arg string) error {
	rest, ok := cutPrefixFold(arg, "FROM:")
	if !ok {
		return c.bad(501, code(5, 5, 4), "Write MAIL FROM:<address>")
	}
	from, rest, err := mailaddr.ParsePath(rest, true)
	if err == nil && from.IsPostmaster() {
		err = mailaddr.ErrNotQualified
	}
	if err != nil {
		return c.badAddress(err, code(5, 1, 7), "Sender address")
	}
	params, err := parseParams(rest)
	if err != nil {
		return c.bad(501, code(5, 5, 4), err.Error())
	}
	opts := &MailOptions{ExactPath: from.Exact}
	for _, p := range params {
		if err := setMailParam(opts, p, c.settings.Priority); err != nil {
			return c.badParam(p, err)
		}
	}
	if from.NeedsUTF8() && !opts.UTF8 {
		return c.no(553, code(5, 6, 7), textNeedsUTF8)
	}
	if opts.Size > c.messageSize() {
		return c.no(errTooLarge.Code, errTooLarge.EnhancedCode, errTooLarge.Message)
	}
	lowered := opts.Priority > c.settings.Priority
	opts.Priority = min(opts.Priority, c.settings.Priority)
	tx, err := c.session.Mail(c.ctx, from, opts)
	if err != nil {
		return c.refused(err)
	}
	c.tx, c.recipients, c.refusedRcpts, c.utf8 = tx, 0, 0, opts.UTF8
	if lowered {
		c.reply(250, code(2, 3, 6), "Ok, with priority "+strconv.Itoa(opts.Priority)) // RFC 6710 section 4.1
		return nil
	}
	c.reply(250, code(2, 1, 0), "Ok")
	return nil
}

// setMailParam sets one parameter; priority is the highest, zero where there is none. errUnknownParam: RFC 5321
// section 4.1.1.11 wants 555.
func setMailParam(o *MailOptions, p param, priority int) error {
	switch p.name {
	case "SIZE":
		return p.size(&o.Size)
	case "BODY": // RFC 6152
		o.Body = smtp.BodyType(strings.ToUpper(p.value))
		if o.Body != smtp.Body7Bit && o.Body != smtp.Body8BitMIME {
			return errors.New("BODY is 7BIT or 8BITMIME")
		}
	case "SMTPUTF8": // RFC 6531
		if p.hasValue {
			return errors.New("SMTPUTF8 takes no value")
		}
		o.UTF8 = true
	case "AUTH": // RFC 4954 section 5
		if !p.hasValue || p.value == "" {
			return errors.New("AUTH takes an address or <>")
		}
		value, err := xtext.Decode(p.value)
		if err != nil {
			return err
		}
		value = strings.TrimSuffix(strings.TrimPrefix(value, "<"), ">")
		if !printable(value, true) {
			return errors.New("AUTH has a control character")
		}
		o.Auth = &value
	case "RET": // RFC 3461
		o.Return = smtp.DSNReturn(strings.ToUpper(p.value))
		if o.Return != smtp.DSNReturnFull && o.Return != smtp.DSNReturnHeaders {
			return errors.New("RET is FULL or HDRS")
		}
	case "ENVID":
		if len(p.value) == 0 || len(p.value) > 100 {
			return errors.New("ENVID takes 1 to 100 characters")
		}
		value, err := xtext.Decode(p.value)
		if err == nil && !printable(value, false) { // RFC 3461 section 4.4: it goes into a header field
			err = errors.New("ENVID has a character that is not printable ASCII")
		}
		o.EnvelopeID = value
		return err
	case "MT-PRIORITY": // RFC 6710
		if priority == 0 {
			return errUnknownParam
		}
		n, err := strconv.Atoi(p.value)
		if err != nil || n < -9 || n > 9 || strconv.Itoa(n) != p.value {
			return errors.New("MT-PRIORITY is a number from -9 to 9")
		}
		o.Priority = n
	default:
		return errUnknownParam
	}
	return nil
}

func (c *Conn) cmdRCPT(arg string) error {
	rest, ok := cutPrefixFold(arg, "TO:")
	if !ok {
		return c.bad(501, code(5, 5, 4), "Write RCPT TO:<address>")
	}
	to, rest, err := mailaddr.ParsePath(rest, true)
	if err == nil && to.IsNull() {
		err = mailaddr.ErrSyntax
	}
	if err != nil {
		c.refusedRcpts++
		return c.badAddress(err, code(5, 1, 3), "Recipient address")
	}
	params, err := parseParams(rest)
	if err != nil {
		c.refusedRcpts++
		return c.bad(501, code(5, 5, 4), err.Error())
	}
	opts := new(RcptOptions)
	for _, p := range params {
		if err := rcptParam(opts, p); err != nil {
			c.refusedRcpts++
			return c.badParam(p, err)
		}
	}
	if to.NeedsUTF8() && !c.utf8 {
		c.refusedRcpts++
		return c.no(553, code(5, 6, 7), textNeedsUTF8) // RFC 6531 section 3.5
	}
	if c.recipients >= c.maxRecipients() {
		c.refusedRcpts++
		return c.no(452, code(4, 5, 3), textTooManyRecipients)
	}
	if err := c.tx.Rcpt(c.ctx, to, opts); err != nil {
		c.refusedRcpts++
		return c.refused(err)
	}
	c.recipients++
	c.reply(250, code(2, 1, 5), "Ok")
	return nil
}

func rcptParam(o *RcptOptions, p param) error {
	switch p.name {
	case "NOTIFY": // RFC 3461 section 4.1
		for _, word := range strings.Split(strings.ToUpper(p.value), ",") {
			switch n := smtp.DSNNotify(word); n {
			case smtp.DSNNotifyNever, smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure, smtp.DSNNotifySuccess:
				if !slices.Contains(o.Notify, n) {
					o.Notify = append(o.Notify, n)
				}
			default:
				return errors.New("NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY")
			}
		}
		if slices.Contains(o.Notify, smtp.DSNNotifyNever) && strings.Contains(p.value, ",") {
			return errors.New("NOTIFY=NEVER does not go with other values")
		}
	case "ORCPT": // RFC 3461 section 4.2
		kind, address, ok := strings.Cut(p.value, ";")
		if !ok || !isKeyword(strings.ToUpper(kind)) || address == "" || len(p.value) > 500 {
			return errors.New("ORCPT takes a type, a semicolon and an address, 500 characters at most")
		}
		decoded, err := xtext.Decode(address)
		if err != nil {
			return err
		}
		if !printable(decoded, strings.EqualFold(kind, "utf-8")) { // RFC 3461 section 4.2
			return errors.New("ORCPT has a character that is not printable")
		}
		o.ORCPT = p.value
		o.OriginalRecipientType, o.OriginalRecipient = smtp.DSNAddressType(strings.ToUpper(kind)), decoded
	default:
		return errUnknownParam
	}
	return nil
}

// badAddress tells what is wrong in grammar from what is not complete.
func (c *Conn) badAddress(err error, enhanced smtp.EnhancedCode, what string) error {
	r := addressReply(err, enhanced, what)
	if r.Code == 554 { // no bad command: a list may have many of these
		return c.no(r.Code, r.EnhancedCode, r.Message)
	}
	return c.bad(r.Code, r.EnhancedCode, r.Message)
}

func addressReply(err error, enhanced smtp.EnhancedCode, what string) *smtp.SMTPError {
	if errors.Is(err, mailaddr.ErrNotQualified) {
		return &smtp.SMTPError{Code: 554, EnhancedCode: enhanced, Message: what + " is not complete: write local-part@domain.example"}
	}
	text := err.Error()
	if err == mailaddr.ErrSyntax {
		text = "malformed"
	}
	return &smtp.SMTPError{Code: 501, EnhancedCode: enhanced, Message: what + ": " + text}
}

const (
	textNeedsUTF8         = "An address in UTF-8 needs SMTPUTF8"
	textTooManyRecipients = "Too many recipients, send the rest in another transaction"
)

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
