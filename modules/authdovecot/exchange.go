package authdovecot

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// exchange is one that Dovecot decides. It belongs to one goroutine.
type exchange struct {
	d         *Dovecot
	peer      caddymsa.Peer
	mechanism string

	request  *request // nil before the first turn
	over     bool
	identity caddymsa.Identity
	close    sync.Once
}

// Next implements caddymsa.ProxiedExchange.
func (x *exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if x.over {
		return nil, false, errors.New("the exchange is over")
	}
	ctx, cancel := context.WithTimeout(ctx, x.d.timeout())
	defer cancel()
	challenge, done, err = x.next(ctx, response)
	x.over = done || err != nil
	return challenge, done, err
}

func (x *exchange) next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	command, parameters := "CONT", base64.StdEncoding.EncodeToString(response)
	if x.request == nil {
		command, parameters = "AUTH", x.d.authenticate(x.peer, x.mechanism, response)
	}
	if len(parameters) > maxLine-100 {
		// Dovecot would close the connection, which others use too.
		return nil, false, fmt.Errorf("%w: the response is longer than Dovecot takes", caddymsa.ErrCredentials)
	}
	if x.request == nil {
		if x.request, err = x.d.clients.begin(ctx, x.mechanism); err != nil {
			return nil, false, err
		}
	}
	begin := time.Now()
	answer, err := x.request.ask(ctx, command, parameters)
	if err != nil {
		return nil, false, err
	}
	if answer.command == "CONT" {
		challenge, err = base64.StdEncoding.DecodeString(answer.fields.first())
		if err != nil {
			return nil, false, fmt.Errorf("challenge from Dovecot: %w", err)
		}
		return challenge, false, nil
	}
	x.request.end()
	x.request.answered = true
	x.identity, err = x.d.conclude(ctx, x.peer, answer, begin)
	return nil, err == nil, err
}

// Identity implements caddymsa.ProxiedExchange.
func (x *exchange) Identity() caddymsa.Identity { return x.identity }

// Close implements caddymsa.ProxiedExchange.
func (x *exchange) Close() error {
	x.close.Do(func() {
		if x.request != nil && !x.request.answered {
			x.request.end()
			x.request.cancel()
		}
		x.d.letGoOfLinks()
	})
	return nil
}
