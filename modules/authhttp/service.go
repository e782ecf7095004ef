package authhttp

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
)

// Bounds of an answer: a user with a thousand addresses fits.
const (
	maxAnswer = 256 << 10 // octets of the body
	maxHeader = 32 << 10  // octets of the header
)

// SignatureHeader carries t=<seconds since 1970>,v1=<hexadecimal HMAC-SHA256 of t, ".", body>.
const SignatureHeader = "MSA-Signature"

// service is a web service and what questions need.
type service struct {
	options
	name      string // for errors
	transport *http.Transport
	turns     chan struct{}
	seen      *passwd.Seen
	now       func() time.Time
}

// newService connects to nothing yet.
func newService(o options) (*service, error) {
	u, err := url.Parse(o.url)
	if err != nil {
		return nil, errors.New("url: cannot be parsed")
	}
	decoy, err := makeDecoy(strings.Fields(o.decoy))
	if err != nil {
		return nil, err
	}
	s := &service{options: o, name: u.Host, turns: make(chan struct{}, o.concurrent), seen: passwd.NewSeen(decoy), now: time.Now}
	// net/http goes on dialling when the question has been given up. The end of that has to come later
	// than the question's, which says what was wrong.
	dialer := &net.Dialer{Timeout: 2 * o.timeout}
	// HTTP/1.1, without the environment's proxies: a question has a connection to itself, and one that
	// hangs is closed and holds up no other.
	s.transport = &http.Transport{
		TLSClientConfig:        o.tlsConfig(),
		Protocols:              new(http.Protocols),
		MaxIdleConns:           o.concurrent,
		MaxIdleConnsPerHost:    o.concurrent,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    2 * o.timeout,
		DialContext:            dialer.DialContext,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
	}
	s.transport.Protocols.SetHTTP1(true)
	if o.socket != "" {
		s.name = o.socket
		s.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", o.socket)
		}
	}
	return s, nil
}

// Destruct implements caddy.Destructor.
func (s *service) Destruct() error {
	s.transport.CloseIdleConnections()
	return nil
}

// ask returns the body of the service's answer.
func (s *service) ask(ctx context.Context, q *question) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("no answer within %s", s.timeout))
	defer cancel()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, s.failed(ctx, q, fmt.Errorf("%w: %d questions are under way", caddymsa.ErrBusy, s.concurrent))
	}
	body, err := s.exchange(ctx, q)
	if err != nil {
		return nil, s.failed(ctx, q, err)
	}
	return body, nil
}

// exchange follows no redirects: the password is for nobody else.
func (s *service) exchange(ctx context.Context, q *question) ([]byte, error) {
	req, err := s.request(ctx, q)
	if err != nil {
		return nil, err
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		if strings.Contains(err.Error(), "malformed") { // and what stands there may be anything
			err = errors.New("the answer is no HTTP")
		}
		return nil, err
	}
	defer resp.Body.Close()
	if err := judge(resp); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the answer is longer than %d octets", maxAnswer)
	}
	return body, nil
}

func (s *service) request(ctx context.Context, q *question) (*http.Request, error) {
	body, err := q.encode()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "caddy-msa")
	// Not sent: net/http may ask again when the service has closed a connection that it kept.
	req.Header["Idempotency-Key"] = []string{}
	if s.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+s.bearer)
	}
	if s.hmacKey != "" {
		req.Header.Set(SignatureHeader, sign(s.hmacKey, s.now(), body))
	}
	return req, nil
}

func sign(key string, now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// judge wants 200 and JSON. The words of the status line are the service's, and not repeated.
func judge(resp *http.Response) error {
	code := resp.StatusCode
	status := fmt.Sprintf("status %d %s", code, http.StatusText(code))
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("%s: it refuses this server, not the user; see bearer, hmac_key and client_certificate", status)
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed:
		return fmt.Errorf("%s: there is no such service; see the URL", status)
	case code >= 300 && code < 400:
		return fmt.Errorf("%s: redirects are not followed; see the URL", status)
	case code != http.StatusOK:
		return errors.New(status)
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errors.New("the answer's Content-Type is not application/json")
	}
	return nil
}

// failed says what happened without what nobody may read.
func (s *service) failed(ctx context.Context, q *question, err error) error {
	if ctx.Err() != nil && !errors.Is(err, caddymsa.ErrBusy) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return fmt.Errorf("%s: %w", s.name, hide(err, s.bearer, s.hmacKey, q.secret()))
}

// maxError is how much the log has of an error, of which the service may have made a part, in octets.
const maxError = 1000

// hide returns an error without the secrets, as they are or quoted.
func hide(err error, secrets ...string) error {
	text := err.Error()
	for _, secret := range secrets {
		if secret != "" {
			quoted := strconv.Quote(secret)
			text = strings.NewReplacer(secret, "REDACTED", quoted[1:len(quoted)-1], "REDACTED").Replace(text)
		}
	}
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "..."
	}
	if text == err.Error() {
		return err
	}
	return hidden{text, err}
}

// hidden is an error in other words.
type hidden struct {
	text  string
	cause error
}

func (h hidden) Error() string { return h.text }
func (h hidden) Unwrap() error { return h.cause }

// makeDecoy makes a user of schemes, with the parameters of `caddy msa user`, or of credentials.
func makeDecoy(schemes []string) (*passwd.User, error) {
	const name = "decoy@example.org"
	u, err := passwd.NewUser(name)
	if err != nil {
		return nil, err
	}
	for _, scheme := range schemes {
		credential := scheme
		if !strings.HasPrefix(scheme, "{") {
			if credential, err = passwd.Generate(scheme, name, "decoy", passwd.Options{}); err != nil {
				return nil, fmt.Errorf("decoy: %s: %w", scheme, err)
			}
		}
		if err := u.AddPassword(credential); err != nil {
			return nil, fmt.Errorf("decoy: %w", err)
		}
	}
	return &u, nil
}
