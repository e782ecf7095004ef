package authhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// maxAnswer bounds an answer, in octets: a user with a thousand addresses fits.
const maxAnswer = 256 << 10

// service is a web service and what questions need.
type service struct {
	options
	client *webcall.Client
	turns  chan struct{}
	seen   *passwd.Seen
}

// newService connects to nothing yet. config is what o was made of.
func newService(o options, config *webcall.Config) (*service, error) {
	decoy, err := passwd.NewDecoy(strings.Fields(o.decoy))
	if err != nil {
		return nil, err
	}
	client, err := config.Open(zap.NewNop(), o.concurrent) // resolve has warned of secrets
	if err != nil {
		return nil, err
	}
	return &service{options: o, client: client, turns: make(chan struct{}, o.concurrent), seen: passwd.NewSeen(decoy)}, nil
}

// Destruct implements caddy.Destructor.
func (s *service) Destruct() error {
	s.client.Close()
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
		return nil, fmt.Errorf("%s: %w: %d questions are under way", s.client.Name(), caddymsa.ErrBusy, s.concurrent)
	}
	body, err := s.exchange(ctx, q)
	if err != nil {
		return nil, s.hide(err, q)
	}
	return body, nil
}

func (s *service) exchange(ctx context.Context, q *question) ([]byte, error) {
	text, err := q.encode()
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Post(ctx, http.Header{"Accept": {"application/json"}}, webcall.JSON(text))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := judge(resp); err != nil {
		return nil, s.client.Failed(ctx, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("the answer is longer than %d octets", maxAnswer)
	}
	if err != nil {
		return nil, s.client.Failed(ctx, err)
	}
	return body, nil
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
	case code != http.StatusOK:
		return errors.New(status)
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errors.New("the answer's Content-Type is not application/json")
	}
	return nil
}

// maxError is how much the log has of an error, of which the service may have made a part, in octets.
const maxError = 1000

// hide returns an error of the service's answer without the secrets. The password is one however short it
// is, but only where it stands by itself: taken out of the middle of words, it would be told by the gaps.
func (s *service) hide(err error, q *question) error {
	text := conf.Redact(err.Error(), conf.NewResolved(s.bearer), conf.NewResolved(s.hmacKey))
	if password := q.secret(); password != "" {
		quoted := strconv.Quote(password)
		text = hideWord(hideWord(text, quoted[1:len(quoted)-1]), password)
	}
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "..."
	}
	if text == err.Error() {
		return err
	}
	return hidden{text, err}
}

// hideWord takes a word out of a text, but not out of longer words.
func hideWord(text, word string) string {
	before, after := "()", "()"
	if first, _ := utf8.DecodeRuneInString(word); unicode.IsLetter(first) || unicode.IsNumber(first) {
		before = "(^|[^\\pL\\pN])"
	}
	if last, _ := utf8.DecodeLastRuneInString(word); unicode.IsLetter(last) || unicode.IsNumber(last) {
		after = "($|[^\\pL\\pN])"
	}
	pattern := regexp.MustCompile(before + regexp.QuoteMeta(word) + after)
	for range 2 { // two that share what is between them are found one at a time
		text = pattern.ReplaceAllString(text, "${1}REDACTED${2}")
	}
	return text
}

// hidden is an error in other words.
type hidden struct {
	text  string
	cause error
}

func (h hidden) Error() string { return h.text }
func (h hidden) Unwrap() error { return h.cause }
