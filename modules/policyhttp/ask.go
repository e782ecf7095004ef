package policyhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/enhanced"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/webcall"
)

// question is what the service is asked. Fields are only ever added.
type question struct {
	Version    int               `json:"version"` // 1
	Moment     string            `json:"moment"`
	QueueID    string            `json:"queue_id,omitempty"` // at message
	Session    string            `json:"session"`
	Server     string            `json:"server"`
	User       string            `json:"user"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Mechanism  string            `json:"mechanism,omitempty"`
	App        string            `json:"app_password,omitempty"` // the label of the one that was used
	RemoteIP   string            `json:"remote_ip,omitempty"`
	Helo       string            `json:"helo,omitempty"`
	TLS        string            `json:"tls,omitempty"`
	Sender     string            `json:"sender"`
	Recipient  *recipient        `json:"recipient,omitempty"` // at recipient
	Recipients []*recipient      `json:"recipients,omitempty"`
	SMTPUTF8   bool              `json:"smtputf8,omitempty"`
	Declared   int64             `json:"declared_size,omitempty"`
	Size       int64             `json:"size,omitempty"`   // at message
	Header     [][2]string       `json:"header,omitempty"` // at message: names and unfolded values
}

type recipient struct {
	Address string   `json:"address"`
	Notify  []string `json:"notify,omitempty"`
	ORCPT   string   `json:"orcpt,omitempty"`
}

func about(r *queue.Recipient) *recipient {
	return &recipient{Address: r.Complete(), Notify: r.Notify, ORCPT: r.ORCPT}
}

func newQuestion(moment string, s *caddymsa.Submission) *question {
	e := s.Entry
	q := &question{Version: 1, Moment: moment, QueueID: e.ID, Session: s.Session, Server: e.Server, User: e.User, Attributes: e.Attributes, Mechanism: e.Mechanism, App: e.AppPassword,
		RemoteIP: e.RemoteIP, Helo: s.Helo, TLS: e.TLS, Sender: e.Sender, SMTPUTF8: e.SMTPUTF8, Declared: s.DeclaredSize}
	for i := range e.Recipients {
		q.Recipients = append(q.Recipients, about(&e.Recipients[i]))
	}
	return q
}

// answer is what the service says.
type answer struct {
	Action string `json:"action"` // accept, refuse or tempfail
	// Code, Status and Text of the reply. Default: 550 5.7.1 and 450 4.7.1, and a text of ours.
	Code   int    `json:"code,omitempty"`
	Status string `json:"status,omitempty"`
	Text   string `json:"text,omitempty"`
	Rule   string `json:"rule,omitempty"`
	// Prepend are header fields to put before an accepted message, "Name: value", the first one on top.
	Prepend []string `json:"prepend,omitempty"`
}

// maxAnswer bounds an answer, in octets.
const maxAnswer = 64 << 10

// ask asks and judges; a nil answer without an error is a failure that is let pass.
func (p *HTTP) ask(ctx context.Context, s *caddymsa.Submission, q *question, content *caddymsa.Message) (*answer, error) {
	a, err := p.question(ctx, q, content)
	if err == nil {
		return a, a.refusal()
	}
	if errors.Is(err, webcall.ErrMessage) { // no fault of the service's
		return nil, err
	}
	return nil, caddymsa.Failed(ctx, p.OnFailure, err, p.log, zap.String("session", s.Session), zap.String("queue_id", s.Entry.ID))
}

func (p *HTTP) question(ctx context.Context, q *question, content *caddymsa.Message) (*answer, error) {
	timeout := time.Duration(p.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%d questions are under way: %w", cap(p.turns), context.Cause(ctx))
	}
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	body := webcall.JSON(text)
	if content != nil {
		if body, err = form(text, content); err != nil {
			return nil, err
		}
	}
	resp, err := p.client.Post(ctx, http.Header{"Accept": {"application/json"}}, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d %s", p.client.Name(), resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, fmt.Errorf("%s: the answer's Content-Type is not application/json", p.client.Name())
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.client.Name(), err)
	}
	a, err := parseAnswer(b)
	if err != nil {
		return nil, fmt.Errorf("%s: the answer %w", p.client.Name(), err)
	}
	return a, nil
}

// form has the question and the message as two parts.
func form(question []byte, m *caddymsa.Message) (webcall.Body, error) {
	prepended := m.Prepended()
	return webcall.Form("question", question, int64(len(prepended))+m.Size, func() (io.ReadCloser, error) {
		r, err := m.Open()
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(prepended), r), r}, nil
	})
}

// parseAnswer is strict: what a service says that it does not say rightly is a failure.
func parseAnswer(b []byte) (*answer, error) {
	if len(b) > maxAnswer {
		return nil, fmt.Errorf("is longer than %d octets", maxAnswer)
	}
	a := new(answer)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(a); err != nil {
		return nil, fmt.Errorf("is not the expected JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more behind it")
	}
	class := 5
	switch a.Action {
	case "accept":
		if a.Code != 0 || a.Status != "" || a.Text != "" {
			return nil, errors.New("accepts and has a reply")
		}
	case "tempfail":
		class = 4
	case "refuse":
	default:
		return nil, fmt.Errorf("has action %q, which is not one of accept, refuse or tempfail", a.Action)
	}
	if a.Code != 0 && (a.Code/100 != class || a.Code%100 > 59 || a.Code == 421) {
		return nil, fmt.Errorf("has code %d for action %s", a.Code, a.Action)
	}
	if _, err := a.status(class); err != nil {
		return nil, err
	}
	for _, f := range a.Prepend {
		if err := checkField(f); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// maxFieldName leaves room for a value in the line.
const maxFieldName = 76

// fieldOf is a field as it goes before the message: as it is, or folded and encoded where it has to be.
func fieldOf(f string, smtputf8 bool) string {
	if len(f) <= message.MaxLine && !strings.ContainsFunc(f, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return f + "\r\n"
	}
	name, value, _ := strings.Cut(f, ":")
	return message.Unstructured(name, value, smtputf8)
}

func checkField(f string) error {
	name, _, ok := strings.Cut(f, ":")
	if !ok || !message.IsName(name) || len(name) > maxFieldName || strings.ContainsFunc(f, func(r rune) bool { return r != '\t' && unicode.IsControl(r) || r == utf8.RuneError }) {
		return fmt.Errorf("has %.60q, which is not a header field", f)
	}
	return nil
}

func (a *answer) status(class int) (c smtp.EnhancedCode, err error) {
	if a.Status == "" {
		return smtp.EnhancedCode{class, 7, 1}, nil
	}
	if c, _ = enhanced.Parse(a.Status); c[0] != class {
		return c, fmt.Errorf("has status %.20q for action %s", a.Status, a.Action)
	}
	return c, nil
}

// refusal is nil for an accepted submission.
func (a *answer) refusal() error {
	r := &caddymsa.Refusal{Code: a.Code, Text: a.Text, Rule: a.Rule}
	switch a.Action {
	case "accept":
		return nil
	case "tempfail":
		r.Status, _ = a.status(4)
		if r.Code == 0 {
			r.Code = 450
		}
	default:
		r.Status, _ = a.status(5)
		if r.Code == 0 {
			r.Code = 550
		}
	}
	return r
}
