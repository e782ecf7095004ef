// Package dsn writes delivery status notifications: multipart/report messages
// (RFC 6522) that tell people and programs what became of a message's recipients
// (RFC 3464), in UTF-8 where the message was (RFC 6533).
package dsn

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/textproto"
	"time"
)

// Action is what became of a recipient (RFC 3464 section 2.3.3).
type Action string

// Actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed" // to a server that gives no notifications
)

// Report is a notification. No text in it is trusted: line ends and other control
// characters become spaces, and what is too long is cut.
type Report struct {
	ID       string // left side of the Message-ID: unique
	Hostname string // the server that reports
	To       string // the message's return path, without brackets
	Date     time.Time

	EnvelopeID string    // ENVID, decoded; may be empty
	Arrival    time.Time // of the message; zero: left out
	Recipients []Recipient

	// Message is the message from its start, with CRLF line ends; nil for a
	// notification without a copy of it. The copy has the header alone, cut at
	// 64 KiB, unless Full is set.
	Message io.ReadSeeker
	Full    bool
	// UTF8 says that the message came with SMTPUTF8, so that its sender can read
	// UTF-8 (RFC 6533). Without it the report is ASCII but for a full copy, and the
	// text for people has UTF-8 in quoted-printable.
	UTF8 bool
}

// Recipient is what became of one recipient.
type Recipient struct {
	Original string // ORCPT as it was sent, such as rfc822;bob+2Bx@example.net; may be empty
	Final    string // address without brackets
	Action   Action
	Status   string // of RFC 3463, such as 5.1.1; what is none becomes x.0.0
	// RemoteMTA said Diagnostic; empty when it was ourselves.
	RemoteMTA string
	// Diagnostic is an SMTP reply, such as "550 5.1.1 Unknown"; may be empty.
	Diagnostic     string
	LastAttempt    time.Time // zero: left out
	WillRetryUntil time.Time // for Delayed; zero: left out
}

// Body is what the envelope of a report has to say.
type Body struct {
	EightBit   bool // BODY=8BITMIME
	UTF8Header bool // SMTPUTF8
}

// MaxHeader is how much of a message's header is copied, in octets.
const MaxHeader = 64 << 10

// Write writes r as a message with CRLF line ends. Message is read, and read once
// more if it is copied in full.
func Write(w io.Writer, r *Report) (Body, error) {
	p := printer{utf8: r.UTF8}
	copied, err := r.original()
	if err != nil {
		return Body{}, err
	}
	to, hostname, id := p.clean(r.To, maxAddress), p.clean(r.Hostname, maxAddress), p.clean(r.ID, maxAddress)
	text, status := human(r), p.status(r)
	body := Body{
		EightBit:   copied.encoding == "8bit" || text.encoding == "8bit" || eightBit(status),
		UTF8Header: !isASCII(to + hostname + id),
	}

	reportType := "delivery-status"
	if eightBit(status) {
		reportType = "global-delivery-status" // RFC 6533 section 4
	}
	buffered := bufio.NewWriterSize(w, 16<<10)
	m := multipart.NewWriter(buffered)
	fmt.Fprintf(buffered, "Date: %s\r\n", mailDate(r.Date))
	fmt.Fprintf(buffered, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", hostname)
	fmt.Fprintf(buffered, "To: <%s>\r\n", to)
	fmt.Fprintf(buffered, "Message-ID: <%s@%s>\r\n", id, hostname)
	fmt.Fprintf(buffered, "Subject: %s\r\n", subject(r))
	buffered.WriteString("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n")
	fmt.Fprintf(buffered, "Content-Type: multipart/report; report-type=%s;\r\n\tboundary=\"%s\"\r\n", reportType, m.Boundary())
	fmt.Fprintf(buffered, "Content-Transfer-Encoding: %s\r\n\r\n", encodingOf(body.EightBit))
	buffered.WriteString("This is a delivery status notification in MIME format.\r\n")

	if err := part(m, text.mediaType, text.encoding, text.content); err != nil {
		return body, err
	}
	if err := part(m, "message/"+reportType, encodingOf(eightBit(status)), bytes.NewReader(status)); err != nil {
		return body, err
	}
	if copied.content != nil {
		if err := part(m, copied.mediaType, copied.encoding, copied.content); err != nil {
			return body, err
		}
	}
	if err := m.Close(); err != nil {
		return body, err
	}
	return body, buffered.Flush()
}

func part(m *multipart.Writer, mediaType, encoding string, content io.Reader) error {
	h := textproto.MIMEHeader{"Content-Type": {mediaType}}
	if encoding != "7bit" {
		h.Set("Content-Transfer-Encoding", encoding)
	}
	w, err := m.CreatePart(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return err
}

func encodingOf(eightBit bool) string {
	if eightBit {
		return "8bit"
	}
	return "7bit"
}

func eightBit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
