package nexthop

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// Login is an account at the next hop.
type Login struct {
	// Mechanisms by preference, in capitals. Of several, another is tried when one is refused.
	Mechanisms []string
	// Client begins an exchange with the host.
	Client func(ctx context.Context, mechanism, host string) (gosasl.Client, error)
	// Refused, if not nil, is told that the hop did not let us in.
	Refused func()
}

// login authenticates (RFC 4954), without mechanisms that were refused before.
func (h *Hop) login(ctx context.Context, p *connection, without []string) error {
	account := h.options.Login
	offered := account.Mechanisms
	if len(offered) > 1 { // a single one was asked for, and hops are known that have more than they say
		offered = slices.DeleteFunc(slices.Clone(offered), func(m string) bool { return !slices.Contains(p.offers.auth, m) })
	}
	if len(offered) == 0 {
		return fmt.Errorf("log in: the next hop offers no mechanism of ours, but %q", strings.Join(p.offers.auth, " "))
	}
	failure := errors.New("log in: the next hop has refused all its mechanisms of ours")
	tried := slices.Clone(without)
	for _, mechanism := range offered {
		if sendsPassword(mechanism) && !sendsPassword(offered[0]) && !p.verified {
			break // a hop that refuses SCRAM to get the password itself does not get it
		}
		if slices.Contains(tried, mechanism) {
			continue
		}
		client, err := account.Client(ctx, mechanism, h.Host)
		if err != nil { // such as a password that SCRAM cannot have
			failure = fmt.Errorf("log in: %w", err)
			continue
		}
		if err = h.authenticate(p, client); err == nil {
			return nil
		}
		failure = fmt.Errorf("log in with %s: %w", mechanism, err)
		refusal, ok := errors.AsType[*refusal](err)
		if !ok && len(tried) > len(without) && !isTimeout(err) && ctx.Err() == nil {
			return &hungUpError{failure, tried}
		}
		if !ok || refusal.reply.Code == 421 || sendsPassword(mechanism) && refusal.reply.Code == 535 {
			break // it is the password that was refused, or nobody is there any more
		}
		tried = append(tried, mechanism)
	}
	if account.Refused != nil {
		account.Refused()
	}
	return failure
}

// sendsPassword tells whether a mechanism shows the password to the other side.
func sendsPassword(mechanism string) bool {
	return mechanism == gosasl.Plain || mechanism == gosasl.Login
}

var errNotProved = errors.New("the next hop did not prove that it knows the password")

// maxCommand is how long a command may be for every hop (RFC 5321 section 4.5.3.1.4).
const maxCommand = 512

// authenticate is one exchange.
func (h *Hop) authenticate(p *connection, client gosasl.Client) error {
	mechanism, initial, err := client.Start()
	if err != nil {
		return err
	}
	command := "AUTH " + mechanism
	withInitial := command + " " + encodeResponse(initial)
	short := initial != nil && len(withInitial)+len("\r\n") <= maxCommand // RFC 4954 section 4
	if short {
		r, err := p.ask(withInitial, h.options.Command)
		if err == nil && r.code == 334 && (mechanism == gosasl.Plain || strings.TrimSpace(r.lines[0]) == "") {
			// It has not heard the initial response, and asks for it.
			r, err = p.ask(base64.StdEncoding.EncodeToString(initial), h.options.Command)
		}
		if err != nil || r.code != 500 && r.code != 501 {
			return h.exchange(p, mechanism, client, r, err)
		}
		// It takes no initial response: what it challenges for then is that.
	}
	r, err := p.ask(command, h.options.Command)
	if initial != nil && err == nil && r.code == 334 {
		r, err = p.ask(base64.StdEncoding.EncodeToString(initial), h.options.Command)
	}
	return h.exchange(p, mechanism, client, r, err)
}

// maxChallenges is more than any mechanism has.
const maxChallenges = 8

var errAsking = errors.New("the next hop does not stop asking")

// exchange answers challenges until there is a result.
func (h *Hop) exchange(p *connection, mechanism string, client gosasl.Client, r reply, err error) error {
	for n := 1; err == nil && r.code == 334; n++ {
		challenge, malformed := base64.StdEncoding.DecodeString(strings.TrimSpace(r.lines[0]))
		if mechanism == gosasl.Login {
			malformed = nil // prompts are for people
		}
		var response []byte
		answerErr := malformed
		switch {
		case n > maxChallenges:
			answerErr = errAsking
		case malformed == nil:
			response, answerErr = client.Next(challenge)
		}
		if answerErr != nil {
			_, _ = p.ask("*", h.options.Command) // cancels; the answer says nothing
			return answerErr
		}
		r, err = p.ask(base64.StdEncoding.EncodeToString(response), h.options.Command)
	}
	switch {
	case err != nil:
		return err
	case !r.positive():
		return refused("AUTH", r)
	}
	if c, ok := client.(interface{ ServerProved() bool }); ok && !c.ServerProved() {
		return errNotProved
	}
	return nil
}

// encodeResponse is an initial response as it stands behind AUTH.
func encodeResponse(response []byte) string {
	if len(response) == 0 {
		return "=" // RFC 4954 section 4
	}
	return base64.StdEncoding.EncodeToString(response)
}
