package httpsubmit

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

var errTooLate = fault(http.StatusConflict, 550, smtp.EnhancedCode{5, 7, 1}, "Nothing of the message is left to take back")

// maxID is more than any queue id has.
const maxID = 64

// isQueueID tells whether there may be a message with that id: spools need not bear anything else.
func isQueueID(id string) bool {
	return len(id) <= maxID && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// show tells what became of a message of the client's own.
func show(ctx context.Context, own running.Own, w http.ResponseWriter, id string) error {
	if !isQueueID(id) {
		return errNotFound
	}
	return tell(w)(own.Message(ctx, id))
}

// takeBack has one not be delivered any more.
func takeBack(ctx context.Context, own running.Own, w http.ResponseWriter, id string) error {
	if !isQueueID(id) {
		return errNotFound
	}
	return tell(w)(own.TakeBack(ctx, id))
}

func tell(w http.ResponseWriter) func(m *running.Message, err error) error {
	return func(m *running.Message, err error) error {
		switch {
		case errors.Is(err, running.ErrNoMessage):
			return errNotFound
		case errors.Is(err, running.ErrTooLate):
			return errTooLate
		case err != nil:
			return err
		}
		write(w, "application/json", http.StatusOK, m)
		return nil
	}
}
