// Package mapregexp maps addresses by regular expressions.
package mapregexp

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/terminal"
)

func init() {
	caddy.RegisterModule(new(Regexp))
}

// Regexp maps addresses by rules, of which the first decides that matches the whole address.
type Regexp struct {
	// Actuals are rules for recipients: from a logical address to an actual one.
	Actuals []Rule `json:"actual,omitempty"`
	// Logicals are rules for senders: from an actual address to a logical one.
	Logicals []Rule `json:"logical,omitempty"`
}

// Rule is a pattern in Go's syntax, and what an address becomes that it matches.
type Rule struct {
	// Pattern has to match the whole address, without regard to case: the local part, @, the domain
	// as A-labels. (?-i) tells capitals apart.
	Pattern string `json:"pattern,omitempty"`
	// Replacement is an address in which $1 or ${name} are the pattern's groups.
	Replacement string `json:"replacement,omitempty"`

	re *regexp.Regexp
}

// CaddyModule returns the Caddy module information.
func (*Regexp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "msa.address_maps.regexp", New: func() caddy.Module { return new(Regexp) }}
}

// Provision compiles the patterns, and warns of a rule whose output another one would match.
func (m *Regexp) Provision(ctx caddy.Context) error {
	if len(m.Actuals)+len(m.Logicals) == 0 {
		return errors.New("regexp: a rule is required, as in: actual ^(.+)@otpnet\\.nl$ $1@xyz.nl")
	}
	for _, rules := range [][]Rule{m.Actuals, m.Logicals} {
		for i := range rules {
			if err := rules[i].compile(); err != nil {
				return fmt.Errorf("regexp: %w", err)
			}
		}
	}
	for _, c := range m.chained() {
		terminal.Logger(ctx.Logger()).Warn("an actual address is a logical one too; addresses are translated once, so that it stays as it is",
			zap.String("replacement", c.first.Replacement), zap.String("pattern", c.second.Pattern))
	}
	return nil
}

func (r *Rule) compile() (err error) {
	if _, err = regexp.Compile(r.Pattern); err != nil { // an error in the operator's words
		return err
	}
	if r.re, err = regexp.Compile(`(?i)^(?:` + r.Pattern + `)$`); err != nil {
		return err
	}
	if r.Pattern == "" || r.Replacement == "" {
		return errors.New("a rule is a pattern and what the address becomes")
	}
	if at := strings.LastIndexByte(r.Pattern, '@'); at >= 0 && strings.ContainsFunc(r.Pattern[at:], func(c rune) bool { return c > unicode.MaxASCII }) {
		return fmt.Errorf("the pattern %s never matches: domains are compared as A-labels, in which bücher.example is xn--bcher-kva.example", r.Pattern)
	}
	if other := otherGroup.FindStringSubmatch(r.Replacement); other != nil && r.re.NumSubexp() > 0 {
		return fmt.Errorf("the replacement %s has %s, which is a group in other programs; write ${%s}", r.Replacement, other[1], other[2])
	}
	return r.checkGroups()
}

// otherGroup is a group as others write one: it would be a part of the address here.
var otherGroup = regexp.MustCompile(`(?:^|[^$])([{%]([0-9]+)\}?)`)

// checkGroups finds groups of the replacement that the pattern does not have, which would become nothing: $1_x is the group named
// 1_x, and ${1}_x the first one before _x.
func (r *Rule) checkGroups() error {
	rest := strings.ReplaceAll(r.Replacement, "$$", "")
	for _, reference := range group.FindAllString(rest, -1) {
		name := strings.Trim(reference, "${}")
		n, err := strconv.Atoi(name)
		if err == nil && n <= r.re.NumSubexp() && strconv.Itoa(n) == name || err != nil && r.re.SubexpIndex(name) >= 0 {
			continue
		}
		hint := ""
		if digits := leadingDigits.FindString(name); digits != "" && digits != name {
			hint = fmt.Sprintf("; for group %s before %q write ${%s}%s", digits, name[len(digits):], digits, name[len(digits):])
		}
		return fmt.Errorf("the replacement %s names the group %s, which the pattern %s does not have%s", r.Replacement, reference, r.Pattern, hint)
	}
	if left := group.ReplaceAllString(rest, ""); strings.Contains(left, "$") {
		return fmt.Errorf("the replacement %s has a $ that begins no group; a literal one is written $$", r.Replacement)
	}
	if text := r.text(); strings.Contains(text, "@") || text == r.Replacement {
		if _, err := mailaddr.Parse(text, true); err != nil {
			return fmt.Errorf("the replacement %s never makes an address: %w", r.Replacement, err)
		}
	}
	return nil
}

// text is what the rule may make, as far as can be said: a group may be anything, and the whole is an address.
func (r *Rule) text() string {
	parts := strings.Split(r.Replacement, "$$")
	for i, part := range parts {
		parts[i] = group.ReplaceAllStringFunc(part, func(reference string) string {
			if strings.Trim(reference, "${}") == "0" {
				return "x@x.x"
			}
			return "x.x" // on either side
		})
	}
	return strings.Join(parts, "$")
}

var leadingDigits = regexp.MustCompile(`^[0-9]+`)

// group is a reference as regexp.Expand reads one, whose names may have letters of any script.
var group = regexp.MustCompile(`\$(?:\{[\pL\p{Nd}_]+\}|[\pL\p{Nd}_]+)`)

// sample is an address that the rule may make, as far as can be said.
func (r *Rule) sample() string {
	s := group.ReplaceAllString(r.Replacement, "x")
	if a, err := mailaddr.Parse(s, true); err == nil {
		return a.Key()
	}
	return ""
}

func translate(rules []Rule, a mailaddr.Address) (string, bool, error) {
	key := a.KeyCase(names.Exact) // what a group matched keeps its spelling
	for i := range rules {
		if at := rules[i].re.FindStringSubmatchIndex(key); at != nil {
			return quoted(string(rules[i].re.ExpandString(nil, rules[i].Replacement, key, at))), true, nil
		}
	}
	return "", false, nil
}

// quoted is an address whose local part, where a group has it without its quotes, has those that it needs.
func quoted(address string) string {
	if _, err := mailaddr.Parse(address, true); err == nil {
		return address
	}
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	return mailaddr.Quoted(address[:at]) + address[at:]
}

// Actual implements caddymsa.AddressMap.
func (m *Regexp) Actual(_ context.Context, logical mailaddr.Address) (string, bool, error) {
	return translate(m.Actuals, logical)
}

// Logical implements caddymsa.AddressMap.
func (m *Regexp) Logical(_ context.Context, actual mailaddr.Address) (string, bool, error) {
	return translate(m.Logicals, actual)
}

// UnmarshalCaddyfile sets up the map from Caddyfile tokens. Syntax:
//
//	address_map regexp {
//		actual  <pattern> <replacement>
//		logical <pattern> <replacement>
//	}
func (m *Regexp) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the map's name
	return conf.Block(d, rules("actual", &m.Actuals), rules("logical", &m.Logicals))
}

func rules(name string, into *[]Rule) conf.Setting {
	return conf.Each(name, func(d *caddyfile.Dispenser) error {
		var r Rule
		if !d.AllArgs(&r.Pattern, &r.Replacement) {
			return d.Errf("%s takes a pattern and a replacement, as in: actual (.+)@otpnet\\.nl $1@xyz.nl", name)
		}
		if err := r.compile(); err != nil {
			return d.Errf("%s: %w", name, err)
		}
		*into = append(*into, r)
		return nil
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Regexp)(nil)
	_ caddyfile.Unmarshaler = (*Regexp)(nil)
	_ caddymsa.AddressMap   = (*Regexp)(nil)
)
