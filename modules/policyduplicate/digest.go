package policyduplicate

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// sum is what a submission is known by.
type sum [sha256.Size]byte

// digest is of everything that makes a submission what it is. Recipients count as a set: the same
// one twice is one, and their order does not matter.
func digest(e *queue.Entry, message io.Reader) (s sum, err error) {
	var rcpts []string
	for _, r := range e.Recipients {
		notify := slices.Sorted(slices.Values(r.Notify))
		b, err := json.Marshal([]string{r.Address, strings.Join(notify, ","), r.ORCPT})
		if err != nil {
			return s, err
		}
		rcpts = append(rcpts, string(b))
	}
	slices.Sort(rcpts)
	envelope, err := json.Marshal(struct {
		Server, User, Sender, Body, Return, EnvelopeID string
		SMTPUTF8                                       bool
		Priority                                       int
		Recipients                                     []string
	}{e.Server, e.User, e.Sender, e.Body, e.Return, e.EnvelopeID, e.SMTPUTF8, e.Priority, slices.Compact(rcpts)})
	if err != nil {
		return s, err
	}
	h := sha256.New()
	_, _ = h.Write(envelope)
	_, _ = h.Write([]byte{0})
	// Readers that write themselves may do it in one piece, of the message's size.
	if _, err := io.Copy(h, struct{ io.Reader }{message}); err != nil {
		return s, err
	}
	return sum(h.Sum(nil)), nil
}
