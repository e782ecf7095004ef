package webcall

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// maxError is how much the log has of an error, of which the service may have made a part.
const maxError = 1000

// Failed is an error of reading or understanding an answer, as Post has them.
func (c *Client) Failed(ctx context.Context, err error) error { return c.failed(ctx, err, false) }

// failed names the service and hides the secrets.
func (c *Client) failed(ctx context.Context, err error, unreachable bool) error {
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	text := conf.Redact(err.Error(), c.bearer, c.hmacKey)
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "..."
	}
	return &callError{c.name + ": " + text, err, unreachable}
}

type callError struct {
	text        string
	cause       error
	unreachable bool
}

func (e *callError) Error() string { return e.text }
func (e *callError) Unwrap() error { return e.cause }

// IsUnreachable tells whether an error of Post is that there was no connection to the service, or no TLS: nothing of the request is
// at fault.
func IsUnreachable(err error) bool {
	e, ok := errors.AsType[*callError](err)
	return ok && e.unreachable
}

// isAlert tells whether the service ended TLS with an alert. In TLS 1.3 it looks at our certificate when we may be sending already.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // as crypto/tls has it
}
