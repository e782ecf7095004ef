package message

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// maxMailboxes bounds the octets of one name's fields that are read for mailboxes.
const maxMailboxes = 64 << 10

// Mailboxes returns the mailboxes in all fields of the name. Its error says, for the client, what of a
// field cannot be understood; so does a field in which there is none, such as an empty group.
func (h Header) Mailboxes(name string) (all []mailaddr.Address, err error) {
	total := 0
	for _, f := range h {
		if !f.Is(name) {
			continue
		}
		if total += len(f.Raw); total > maxMailboxes {
			return nil, fmt.Errorf("it has more than %d octets", maxMailboxes)
		}
		list, err := ParseMailboxes(f.Value())
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// ParseMailboxes reads a list of mailboxes as it stands in From, Sender or To (RFC 5322 sections 3.4 and
// 4.4): with comments and white space wherever they are allowed, and groups. Display names may be in any
// character set, encoded or not. It also takes what devices write where the mailbox is certain all
// the same: names with an unquoted special character (`Foo [Bar] <a@d>`), with the address itself
// (`a@d <a@d>`) or behind it (`<a@d> Foo`), two angle brackets or one that does not close, groups that do not end, and lists with
// semicolons. Anything else is an error: readers would differ in whose address it is.
func ParseMailboxes(value string) ([]mailaddr.Address, error) {
	all, err := parseMailboxes(value)
	text, doubt := withoutDoubt(value)
	if !doubt {
		return all, err
	}
	if err != nil {
		if all, _ = parseMailboxes(text); all == nil {
			return nil, err
		}
	}
	if !certain(value, all) {
		return nil, errDoubt
	}
	return all, nil
}

func parseMailboxes(value string) ([]mailaddr.Address, error) {
	p := mailboxParser{rest: value}
	for !p.done() {
		if err := p.element(); err != nil {
			return nil, err
		}
	}
	if len(p.found) == 0 {
		return nil, errors.New("there is no address")
	}
	return p.found, nil
}

// mailboxParser goes through a list once.
type mailboxParser struct {
	rest  string
	group bool
	found []mailaddr.Address
}

func (p *mailboxParser) done() bool { return p.rest == "" }

// token is a piece of an element. Of comments nothing is left but that there was something between.
type token struct {
	kind  byte // 'a' atom, 'w' encoded word that is none, 'q' quoted string, '[' domain literal, else the character itself
	text  string
	apart bool // there is white space or a comment before it
}

// element reads up to the next comma, semicolon or colon.
func (p *mailboxParser) element() error {
	var tokens []token
	var angle, route bool // what is open: an angle bracket, and a route in it (RFC 5322 section 4.4, obs-route)
	for {
		t, err := p.token()
		switch {
		case err != nil:
			return err
		case route && (t.kind == ':' || t.kind == ','):
			route = t.kind == ','
		case t.kind == ':' && angle:
			return errors.New("a colon in angle brackets")
		case t.kind == ':' && p.group:
			return errors.New("a group in a group, or a colon outside of quotes")
		case t.kind == ':':
			p.group = true
			if slices.ContainsFunc(tokens, func(t token) bool { return t.kind == '@' || t.kind == '<' }) {
				return errors.New("an address before a colon")
			}
			return displayName(tokens, mailaddr.Address{})
		case t.kind == 0, t.kind == ',', t.kind == ';':
			p.group = p.group && t.kind == ','
			return p.mailbox(tokens)
		case t.kind == '<' || t.kind == '>':
			angle, route = t.kind == '<', false
		case t.kind == '@' && len(tokens) > 0 && tokens[len(tokens)-1].kind == '<':
			route = true
		}
		tokens = append(tokens, t)
	}
}

// mailbox understands an element: an address, or a name and an address in angle brackets.
func (p *mailboxParser) mailbox(tokens []token) error {
	if len(tokens) == 0 { // RFC 5322 section 4.4 allows it
		return nil
	}
	angle := slices.IndexFunc(tokens, func(t token) bool { return t.kind == '<' })
	if angle < 0 {
		a, err := address(tokens)
		if err != nil {
			return err
		}
		p.found = append(p.found, a)
		return nil
	}
	name, rest := tokens[:angle], tokens[angle+1:]
	if len(rest) > 0 && rest[0].kind == '<' && closings(rest) == 2 { // one more of each
		rest = rest[1:]
	}
	end := slices.IndexFunc(rest, func(t token) bool { return t.kind == '>' })
	if end < 0 && p.done() {
		end = len(rest)
	}
	switch {
	case end < 0:
		return errors.New("an angle bracket is not closed")
	case end == 0:
		return errors.New("empty angle brackets")
	case end < len(rest)-1 && !isPhrase(rest[end+1:]) && closings(rest[end:]) != len(rest)-end:
		return errors.New("text behind the address in angle brackets")
	}
	spec, err := unrouted(rest[:end])
	if err != nil {
		return err
	}
	a, err := address(spec)
	if err != nil {
		return err
	}
	if err := displayName(name, a); err != nil {
		return err
	}
	p.found = append(p.found, a)
	return nil
}

// closings counts the closing angle brackets at the end.
func closings(tokens []token) (n int) {
	for n < len(tokens) && tokens[len(tokens)-1-n].kind == '>' {
		n++
	}
	return n
}

// isPhrase tells whether there are only words, in which nobody sees an address.
func isPhrase(tokens []token) bool {
	return !slices.ContainsFunc(tokens, func(t token) bool { return t.kind != 'a' && t.kind != '.' })
}

// displayName refuses a name in which a reader may see another address.
func displayName(name []token, a mailaddr.Address) error {
	phrase := !slices.ContainsFunc(name, func(t token) bool { return t.kind != 'a' && t.kind != 'q' && t.kind != '.' })
	for _, t := range name {
		// Some readers take a quoted string for a local part once there is what no name may have.
		if t.kind == '>' || t.kind == '[' && strings.ContainsAny(t.text, `@<>,;:"`) || t.kind == 'q' && !phrase && strings.Contains(t.text, "@") {
			return errors.New("the name before the address has special characters outside of quotes")
		}
	}
	for i := 0; i < len(name); {
		end := i + 1 // of the word
		for end < len(name) && !name[end].apart {
			end++
		}
		word := name[i:end]
		i = end
		if !slices.ContainsFunc(word, func(t token) bool { return t.kind == '@' }) {
			continue
		}
		for len(word) > 1 && strings.IndexByte(`[].,`, word[0].kind) >= 0 {
			word = word[1:]
		}
		for len(word) > 1 && strings.IndexByte(`[].,`, word[len(word)-1].kind) >= 0 {
			word = word[:len(word)-1]
		}
		word = slices.Clone(word)
		word[0].text = strings.TrimLeft(word[0].text, "'")
		word[len(word)-1].text = strings.TrimRight(word[len(word)-1].text, "'")
		if other, err := address(word); err != nil || !mailaddr.Equal(other, a) {
			return errors.New("the name before the address has an @ outside of quotes")
		}
	}
	return nil
}
