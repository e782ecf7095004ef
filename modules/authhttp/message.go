package authhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/passwd"
	"github.com/caddy-msa/caddy-msa/caddymsa/tableauth"
)

// Actions.
const (
	actionVerify      = "verify"
	actionLookup      = "lookup"
	actionCredentials = "credentials"
)

// question is what the service is asked.
type question struct {
	Version  int     `json:"version"` // 1
	Action   string  `json:"action"`
	User     string  `json:"user"`
	Password *string `json:"password,omitempty"` // of verify
	IP       string  `json:"ip,omitempty"`       // missing on a unix socket
	Server   string  `json:"server,omitempty"`
	Session  string  `json:"session,omitempty"`
}

func newQuestion(action string, peer caddymsa.Peer, user string) *question {
	q := &question{Version: 1, Action: action, User: user, Server: peer.Server, Session: peer.Session}
	if peer.IP.IsValid() {
		q.IP = peer.IP.Unmap().String()
	}
	return q
}

// encode is as exact as JSON can be, which is text: what is not UTF-8 would become something else.
func (q *question) encode() ([]byte, error) {
	if !utf8.ValidString(q.User) || !utf8.ValidString(q.secret()) {
		return nil, errors.New("the question is not UTF-8")
	}
	return json.Marshal(q)
}

// secret is what must not show in an error.
func (q *question) secret() string {
	if q.Password == nil {
		return ""
	}
	return *q.Password
}

// answer is what all answers may have. {"ok":false} is a refusal.
type answer struct {
	OK         *bool                      `json:"ok"`
	Reason     string                     `json:"reason"` // of a refusal, for the log
	User       string                     `json:"user"`
	Addresses  []string                   `json:"addresses"`
	Attributes map[string]json.RawMessage `json:"attributes"`
}

// person is the answer to verify and lookup.
type person struct {
	answer
	Fingerprint string `json:"fingerprint"`
}

// stored is the answer to credentials.
type stored struct {
	answer
	Password  string            `json:"password"`
	DigestHA1 map[string]string `json:"digest_ha1"` // by realm
	SCRAM     string            `json:"scram"`
	AllowNets []string          `json:"allow_nets"`
	Disabled  bool              `json:"disabled"`
}

// decode reads an answer. What it does not know is an error: a misspelt name must not go unnoticed.
func decode(body []byte, into any) error {
	if !utf8.Valid(body) {
		return errors.New("the answer is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("the answer: more follows after its end")
	}
	return nil
}

// refusal is the service's no. It is caddymsa.ErrCredentials.
type refusal struct{ reason string }

func (r refusal) Error() string { return caddymsa.ErrCredentials.Error() + ": " + r.reason }
func (r refusal) Unwrap() error { return caddymsa.ErrCredentials }

func isRefusal(err error) bool { return errors.Is(err, caddymsa.ErrCredentials) }

// maxReason is how much of a reason comes into the log, in octets.
const maxReason = 200

// reasons that a service may give in one word; any other is logged as it is.
var reasons = map[string]error{
	"unknown": caddymsa.ErrUnknownUser, "wrong": caddymsa.ErrWrongPassword, "disabled": caddymsa.ErrDisabled, "address": caddymsa.ErrNotFromThere,
}

// accepted returns nil for a yes, a refusal for a no.
func (a *answer) accepted() error {
	switch {
	case a.OK == nil:
		return errors.New("the answer has no ok")
	case *a.OK:
		return nil
	case a.Reason == "":
		return caddymsa.ErrCredentials
	case reasons[a.Reason] != nil:
		return reasons[a.Reason]
	}
	return refusal{fmt.Sprintf("%.*q", maxReason, a.Reason)}
}

// name is who it is about, if the answer spells that otherwise.
func (a *answer) name(asked string) (string, error) {
	if a.User == "" {
		return asked, nil
	}
	if err := passwd.CheckName(a.User); err != nil {
		return "", fmt.Errorf("the answer's user: %w", err)
	}
	return a.User, nil
}

// attributes are texts as they are, and anything else as JSON.
func (a *answer) attributes() (map[string]string, error) {
	if len(a.Attributes) == 0 {
		return nil, nil
	}
	all := make(map[string]string, len(a.Attributes))
	for name, raw := range a.Attributes {
		switch {
		case string(raw) == "null":
		case raw[0] == '"':
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return nil, fmt.Errorf("the answer's attributes: %w", err)
			}
			all[name] = s
		default:
			var b bytes.Buffer
			if err := json.Compact(&b, raw); err != nil {
				return nil, fmt.Errorf("the answer's attributes: %w", err)
			}
			all[name] = b.String()
		}
	}
	return all, nil
}

// parsePerson reads the answer about a user to verify or lookup.
func parsePerson(body []byte, asked string) (id caddymsa.Identity, err error) {
	var p person
	if err := decode(body, &p); err != nil {
		return id, err
	}
	if err := p.accepted(); err != nil {
		return id, err
	}
	if id.User, err = p.name(asked); err != nil {
		return id, err
	}
	for _, s := range p.Addresses {
		pattern, err := mailaddr.ParsePattern(s)
		if err != nil {
			return id, fmt.Errorf("the answer's addresses: %w", err)
		}
		id.Addresses = append(id.Addresses, pattern)
	}
	id.Fingerprint = p.Fingerprint
	id.Attributes, err = p.attributes()
	return id, err
}

// parseStored reads the answer about a user to credentials.
func parseStored(body []byte, asked string) (*tableauth.Record, error) {
	var s stored
	if err := decode(body, &s); err != nil {
		return nil, err
	}
	if err := s.accepted(); err != nil {
		return nil, err
	}
	name, err := s.name(asked)
	if err != nil {
		return nil, err
	}
	u, err := passwd.NewUser(name)
	if err == nil && s.Password != "" {
		err = u.AddPassword(s.Password)
	}
	if err == nil && s.SCRAM != "" {
		err = u.AddPassword("{SCRAM-SHA-256}" + strings.TrimPrefix(s.SCRAM, "{SCRAM-SHA-256}"))
	}
	for _, realm := range slices.Sorted(maps.Keys(s.DigestHA1)) { // in one order, for the fingerprint
		if err == nil {
			err = u.AddHA1(realm, s.DigestHA1[realm])
		}
	}
	for _, address := range s.Addresses {
		if err == nil {
			err = u.AddAddress(address)
		}
	}
	for _, net := range s.AllowNets {
		if err == nil {
			err = u.AddNet(net)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	u.Disabled = u.Disabled || s.Disabled
	rec := &tableauth.Record{User: u}
	rec.Attributes, err = s.attributes()
	return rec, err
}
