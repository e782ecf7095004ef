package places

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Ordinal is how an operator says which one, from 1 on.
func Ordinal(n int) string {
	words := []string{"zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"}
	if n < len(words) {
		return words[n]
	}
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

// position is how Caddy says which of a list of modules an error is about.
var position = regexp.MustCompile(`^position ([0-9]+): `)

// CutPosition takes from an error of Caddy's which of a list of modules it is about, from 0 on.
func CutPosition(err error) (i int, ok bool, rest error) {
	m := position.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, false, err
	}
	if i, cerr := strconv.Atoi(m[1]); cerr == nil {
		return i, true, errors.New(err.Error()[len(m[0]):])
	}
	return 0, false, err
}

// caddysWords are what Caddy puts before a module's own error.
var caddysWords = regexp.MustCompile(`^loading module '[^']*': (provision [a-z0-9_.]+: |decoding module config: [a-z0-9_.]+: |[a-z0-9_.]+: invalid configuration: )?`)

// policysWords are what Caddy puts before what is wrong with a connection policy, which it counts from 0.
var policysWords = regexp.MustCompile(`^connection policy ([0-9]+): (?:building standard TLS config: )?(?:(provisioning client CA: )?loading module '[^']*': provision [a-z0-9_.]+: )?`)

// ConnectionPolicy is what is wrong with a connection policy, as an operator counts them.
func ConnectionPolicy(err error) error {
	m := policysWords.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	n, _ := strconv.Atoi(m[1])
	text := err.Error()[len(m[0]):]
	if m[2] != "" {
		text = "client_auth: " + text
	}
	return fmt.Errorf("the %s connection policy: %s", Ordinal(n+1), text)
}

// matchersWords are what Caddy puts before a matcher's own error.
var matchersWords = regexp.MustCompile(`^module name '([^']*)': (?:provision [a-z0-9_.]+: |decoding module config: [a-z0-9_.]+: |[a-z0-9_.]+: invalid configuration: )?`)

// Matcher is a matcher's error behind the matcher's name.
func Matcher(err error) error {
	return errors.New(matchersWords.ReplaceAllString(err.Error(), "matcher $1: "))
}

// Module is a module's error behind the module's name, which the operator wrote.
func Module(module json.RawMessage, err error) error {
	var m struct {
		Module string `json:"module"`
	}
	if strings.Contains(err.Error(), "module name not specified with key") { // Caddy would print all of it, secrets too
		return errors.New(`it does not say which module it is of; it needs a member "module", with a module's name`)
	}
	text := caddysWords.ReplaceAllString(err.Error(), "")
	if json.Unmarshal(module, &m) != nil || m.Module == "" || strings.HasPrefix(text, m.Module+": ") {
		return errors.New(text)
	}
	return errors.New(m.Module + ": " + text)
}
