package sinkwebhook

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

func (s *Webhook) post(ctx context.Context, d *queue.Delivery, v envelope.Envelope) error {
	timeout := time.Duration(s.Timeout)
	limited, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	header := http.Header{"Idempotency-Key": {v.Key}}
	body := webcall.Body{Type: "message/rfc822", Size: d.Entry.Size, Open: webcall.Message(d.Open)}
	if s.Format == formatRaw {
		header["Msa-Envelope"] = []string{ascii(v)}
	} else {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if body, err = webcall.Form("envelope", text, d.Entry.Size, d.Open); err != nil {
			return err
		}
	}
	body.Whole = true
	resp, err := s.client.Post(limited, header, body)
	switch {
	case err == nil:
	case webcall.IsUnreachable(err) && ctx.Err() == nil:
		return queue.Unreachable(err)
	default: // it may be this message that the service cannot cope with
		return err
	}
	defer resp.Body.Close()
	status, line := statusOf(resp)
	a := queue.Answer{Reply: strings.TrimSpace(status + " " + line), ID: idOf(resp.Header), Host: resp.Request.URL.Host}
	if resp.TLS != nil {
		a.TLS = tls.VersionName(resp.TLS.Version) + " " + tls.CipherSuiteName(resp.TLS.CipherSuite)
	}
	for _, r := range d.Recipients {
		d.Answered(r, a)
	}
	return s.outcome(resp, status, line)
}

// escape has in ASCII what JSON is.
func escape(text []byte) string {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// refusals are the statuses that speak of the message.
var refusals = map[int]smtp.EnhancedCode{
	http.StatusBadRequest: {5, 6, 0}, http.StatusNotAcceptable: {5, 6, 0}, http.StatusGone: {5, 1, 1}, http.StatusRequestEntityTooLarge: {5, 3, 4},
	http.StatusUnsupportedMediaType: {5, 6, 1}, http.StatusUnprocessableEntity: {5, 6, 0},
}

// unreachable are those that speak of the service, or of this server's account there.
var unreachable = map[int]bool{
	http.StatusUnauthorized: true, http.StatusForbidden: true, http.StatusNotFound: true, http.StatusMethodNotAllowed: true, http.StatusProxyAuthRequired: true,
	http.StatusTooManyRequests: true, http.StatusBadGateway: true, http.StatusServiceUnavailable: true, http.StatusGatewayTimeout: true,
}

// maxText is how much of an answer is read.
const maxText = 1 << 10

// statusOf reads an answer: its status, and the line of text that says more.
func statusOf(resp *http.Response) (status, line string) {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxText)) // all of a short one, so that the connection can be used again
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if strings.EqualFold(strings.TrimSpace(kind), "text/plain") && resp.Header.Get("Content-Encoding") == "" { // or a page for people, or something else that no bounce should have
		line, _, _ = strings.Cut(strings.TrimSpace(string(b)), "\n")
	}
	return strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)), strings.TrimSpace(line)
}

// idOf is by what the service knows the request, where it says so.
func idOf(h http.Header) string {
	const longest = 200
	if id := h.Get("X-Request-Id"); len(id) <= longest {
		return id
	}
	return ""
}

func (s *Webhook) outcome(resp *http.Response, status, line string) error {
	code := resp.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	if refusal, ok := refusals[code]; ok {
		if line == "" {
			line = status
		}
		return &smtp.SMTPError{Code: 554, EnhancedCode: refusal, Message: "Refused by the recipient's system: " + line}
	}
	err := fmt.Errorf("%s: status %s %s", s.client.Name(), status, line)
	if unreachable[code] {
		after, _ := webcall.RetryAfter(resp.Header, time.Now())
		return queue.UnreachableFor(err, after)
	}
	return err
}
