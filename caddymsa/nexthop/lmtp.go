package nexthop

import (
	"errors"
	"fmt"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// endLMTP reads a reply for each recipient (RFC 2033 section 4.2). Those without one, since the
// connection broke, share the error and are tried again.
func (s *session) endLMTP(data *smtp.DataCommand, accepted []*queue.Recipient) error {
	taken, err := data.CloseWithLMTPResponse()
	refused, _ := errors.AsType[smtp.LMTPDataError](err)
	usable, answered := true, 0
	for _, r := range accepted {
		if reply := refused[r.Address]; reply != nil {
			answered++
			s.delivery.Report(r, s.refused("end of message", reply, []*queue.Recipient{r}))
			usable = usable && s.usable
		} else if taken[r.Address] != nil {
			answered++
			s.delivery.Report(r, nil)
			if dsn, _ := s.client.Extension("DSN"); dsn {
				s.delivery.Relayed(r, true)
			}
		}
	}
	if answered == len(accepted) {
		s.sent++
		s.usable = usable
		return nil
	}
	s.usable = false
	return fmt.Errorf("end of message: %w", err)
}
