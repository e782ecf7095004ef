package conf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
)

// Amount is how much there may be of something: a number, as in 100, or a placeholder for an attribute of who
// submits, with the number that counts for those of whom the backend says none, as in
// "{msa.identity.attributes.per_hour} 100". In JSON it is a number or such a string. Empty and 0: not limited.
type Amount string

// Unit is what an Amount counts.
type Unit int

// Units.
const (
	Pieces Unit = iota // a whole number
	Octets             // a size, which may have a unit: 50MB
)

// attributes is what the placeholders of an Amount begin with.
const attributes = "msa.identity.attributes."

// unlimited is an attribute's value for no limit.
const unlimited = "unlimited"

// Attribute returns the name of the attribute that a placeholder stands for, {msa.identity.attributes.NAME}; ok tells whether it is one.
func Attribute(placeholder string) (name string, ok bool) {
	name, ok = strings.CutPrefix(placeholder, "{"+attributes)
	if name, ok2 := strings.CutSuffix(name, "}"); ok && ok2 && name != "" && !strings.ContainsAny(name, "{} \t") {
		return name, true
	}
	return "", false
}

// WordOrAttribute is a setting that is one of some words, or a placeholder for an attribute of who submits.
func WordOrAttribute(name string, into *string, words ...string) Setting {
	return value(name, func(text string) error { *into = text; return OneOfOrAttribute(text, words...) })
}

// OneOfOrAttribute tells which words there are if text is none of them, and no placeholder for an attribute.
func OneOfOrAttribute(text string, words ...string) error {
	if _, ok := Attribute(text); ok {
		return nil
	}
	if err := OneOf(text, words...); err != nil {
		return fmt.Errorf("%w, nor {%sNAME}", err, attributes)
	}
	return nil
}

// UnmarshalJSON reads a number or a text.
func (a *Amount) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(a))
	}
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*a = Amount(strconv.FormatInt(n, 10))
	return nil
}

// MarshalJSON writes a number, where it is one.
func (a Amount) MarshalJSON() ([]byte, error) {
	if n, err := strconv.ParseInt(string(a), 10, 64); err == nil {
		return json.Marshal(n)
	}
	return json.Marshal(string(a))
}

// Literal is the number, if it is one already, or else what is written, for names that are made of settings.
func (a Amount) Literal() string {
	if a == "" {
		return "0"
	}
	return string(a)
}

// AmountOf is a setting of an amount. Syntax:
//
//	<name> <amount> | {msa.identity.attributes.NAME} [<amount>]
func AmountOf(name string, unit Unit, into *Amount) Setting {
	return Func(name, func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) == 0 || len(args) > 2 {
			return d.Errf("%s takes one value%s", name, remedy(args))
		}
		if len(args) == 2 && !strings.HasPrefix(args[0], "{msa.") {
			return d.Errf("%s takes one value%s, or {%sNAME} and one", name, remedy(args), attributes)
		}
		*into = Amount(strings.Join(args, " "))
		allowed, err := into.parse(unit, false)
		if err != nil {
			return d.Errf("%s: %w", name, err)
		}
		if allowed.attribute == "" && allowed.known {
			*into = Amount(strconv.FormatInt(allowed.fallback, 10))
		}
		return nil
	})
}

// Allowance is an Amount in use. Nil: not limited.
type Allowance struct {
	setting   string
	unit      Unit
	attribute string
	fallback  int64 // or the amount itself
	known     bool  // there is a fallback
	log       *zap.Logger

	mu   sync.Mutex
	told map[string]bool // users of whom the log was told
}

// Resolve makes an Allowance, or nil if there is no limit. name is the setting's.
func (a Amount) Resolve(name string, unit Unit, log *zap.Logger) (*Allowance, error) {
	allowed, err := a.parse(unit, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if allowed != nil {
		allowed.setting, allowed.log = name, log
	}
	return allowed, nil
}

// parse reads an amount. Placeholders of Caddy's are replaced when the configuration is loaded, and are
// let through before.
func (a Amount) parse(unit Unit, load bool) (*Allowance, error) {
	if load && (a == "" || a == "0") { // in JSON, as in Go, 0 is what is not set
		return nil, nil
	}
	words := strings.Fields(string(a))
	if len(words) == 0 {
		return nil, fmt.Errorf("%q is not an amount; write a number, or {%sNAME}", string(a), attributes)
	}
	if len(words) > 2 {
		return nil, fmt.Errorf("%q is more than a placeholder and a number", string(a))
	}
	allowed := &Allowance{unit: unit}
	if strings.HasPrefix(words[0], "{msa.") {
		name, ok := Attribute(words[0])
		if !ok {
			return nil, fmt.Errorf("%s is not an amount; write a number, or {%sNAME}", words[0], attributes)
		}
		if allowed.attribute, words = name, words[1:]; len(words) == 0 {
			return allowed, nil
		}
	}
	if len(words) > 1 {
		return nil, fmt.Errorf("%q is not an amount; write a number, or {%sNAME} and a number", string(a), attributes)
	}
	text := words[0]
	if strings.HasPrefix(text, "{") {
		if !load {
			return allowed, nil
		}
		var err error
		if text, err = Expand(text); err != nil {
			return nil, err
		}
	}
	n, err := parseAmount(text, unit)
	if err != nil {
		return nil, err
	}
	allowed.fallback, allowed.known = n, true
	return allowed, nil
}

func parseAmount(text string, unit Unit) (int64, error) {
	if unit == Octets {
		return parseSize[int64](text)
	}
	return parseCount[int64](text)
}

// Of is how much there may be for a user. limited is false if there is no limit. Where the attribute is missing or is no amount the
// fallback counts, and the log is told once of each user; without a fallback it is an error.
func (a *Allowance) Of(user string, all map[string]string) (n int64, limited bool, err error) {
	if a == nil {
		return 0, false, nil
	}
	if a.attribute == "" {
		return a.fallback, true, nil
	}
	value, there := all[a.attribute]
	value = strings.TrimSpace(value)
	if strings.EqualFold(value, unlimited) {
		return 0, false, nil
	}
	if n, ok := attributeAmount(value, a.unit); ok {
		return n, true, nil
	}
	problem := fmt.Sprintf("attribute %s is not an amount", a.attribute)
	if !there || value == "" {
		problem = fmt.Sprintf("the backend gives no attribute %s", a.attribute)
	}
	if !a.known {
		return 0, true, fmt.Errorf("%s: %s of the user, and the setting has no amount for that case", a.setting, problem)
	}
	a.tell(user, problem)
	return a.fallback, true, nil
}

// Quota is what the amount leaves a user while nothing has been counted.
func (a *Allowance) Quota(what, user string, all map[string]string) counts.Quota {
	n, limited, err := a.Of(user, all)
	q := counts.Quota{What: what, Per: "message", Unlimited: !limited, Allowed: n, Left: n}
	if err != nil {
		q.Problem = err.Error()
	}
	return q
}

// attributeAmount reads a value as directories and tokens have it: 100, 0 for nothing at all, 100.0, or a size.
func attributeAmount(value string, unit Unit) (int64, bool) {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		return n, n >= 0 && n <= maxSize
	}
	if f, err := strconv.ParseFloat(value, 64); err == nil {
		return int64(f), f >= 0 && f <= maxSize && f == math.Trunc(f)
	}
	if unit == Octets {
		n, err := parseSize[int64](value)
		return n, err == nil
	}
	return 0, false
}

// maxTold is of how many users the log is told.
const maxTold = 20

func (a *Allowance) tell(user, problem string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told == nil {
		a.told = make(map[string]bool)
	}
	if a.told[user] || len(a.told) == maxTold {
		return
	}
	a.told[user] = true
	fields := []zap.Field{zap.String("setting", a.setting), zap.String("user", user), zap.Int64("amount", a.fallback)}
	if len(a.told) == maxTold {
		fields = append(fields, zap.String("hint", "there may be more such users; the log does not name them"))
	}
	a.log.Warn(problem+"; the amount of the configuration counts", fields...)
}
