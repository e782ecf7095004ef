package policyclamav

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examine implements caddymsa.Examiner: each clamd answers. One that hangs takes connections all the same.
func (p *ClamAV) Examine(ctx context.Context, x caddymsa.Examination) []doctor.Finding {
	n := doctor.About("policies", x.Subject)
	for _, a := range p.addresses {
		c, err := dial(ctx, a, time.Duration(p.ConnectTimeout))
		if err != nil {
			n.Wrong("start clamd, correct its address, or let the user that Caddy runs as use its socket; until then on_failure decides", "clamd cannot be reached: %v", err)
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Duration(p.ConnectTimeout)))
		if err := ping(c); err != nil {
			n.Wrong("restart clamd; until then on_failure decides", "clamd at %s takes a connection and does not answer: %v", a.JoinHostPort(0), err)
		} else {
			n.OK("clamd at %s answers", a.JoinHostPort(0))
		}
		stop()
		_ = c.Close()
	}
	return n.Findings
}

// ping asks whether clamd is there (PING of clamd(8)).
func ping(c io.ReadWriter) error {
	if _, err := io.WriteString(c, "zPING\x00"); err != nil {
		return err
	}
	answer := make([]byte, len("PONG\x00"))
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if string(answer) != "PONG\x00" {
		return fmt.Errorf("it says %q", answer)
	}
	return nil
}

// Interface guard
var _ caddymsa.Examiner = (*ClamAV)(nil)
