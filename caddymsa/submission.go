package caddymsa

import (
	"context"
	"io"
	"net/netip"
	"sync"

	"github.com/caddy-msa/caddy-msa/caddymsa/counts"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Submission is an envelope in flight and who submits it. Policies read it.
type Submission struct {
	// Entry holds everything that is stored with the message. Its Recipients are
	// those accepted so far; its ID is there at the end of data.
	Entry *queue.Entry
	// Sender is the parsed reverse path.
	Sender mailaddr.Address
	// Identity is who the client has proven to be.
	Identity Identity
	// Helo is the client's EHLO name; empty when it sent none within TLS.
	Helo string
	// DeclaredSize is what the client said with SIZE= at MAIL, in octets. Zero: nothing.
	DeclaredSize int64
	// RemoteIP is the client's address; invalid on a unix socket.
	RemoteIP netip.Addr
	// Hostname is the server's.
	Hostname string
	// Session is the session's id, for the log.
	Session string
	// Held is set by a policy that has the message accepted and kept from delivery, until the operator
	// releases it: why. Empty: it is delivered.
	Held string
	// Once is set by a policy that has the message accepted only if the same was not accepted before, by any node. It
	// is heeded where Before is not nil.
	Once *queue.Once
	// Before returns the queue id of the message that was accepted with a digest (Once), or "". Nil: the
	// spool does not remember such things.
	Before func(ctx context.Context, digest [32]byte) (id string, err error)

	// Counter has the counts that nodes share by their spool. Nil: the spool is this node's alone.
	Counter counts.Counter

	values []kept // few
	ends   []func(accepted bool)
}

// Value is what SetValue has put there, or nil. Keys are of types of the policy's own.
func (s *Submission) Value(key any) any {
	for _, v := range s.values {
		if v.key == key {
			return v.value
		}
	}
	return nil
}

// SetValue keeps something from one moment of the submission to the next.
func (s *Submission) SetValue(key, value any) {
	for i, v := range s.values {
		if v.key == key {
			s.values[i].value = value
			return
		}
	}
	s.values = append(s.values, kept{key, value})
}

type kept struct{ key, value any }

// Forget drops what SetValue has put there: the checks run again, by another configuration.
func (s *Submission) Forget() { s.values = nil }

// Ahead is how many recipients come before r: those accepted so far. At the end of data, when policies are asked whose matchers want to
// know the message, all are there, r among them, and what is refused is refused to all.
func (s *Submission) Ahead(r *queue.Recipient) (n int, atEnd bool) {
	for i := range s.Entry.Recipients {
		if &s.Entry.Recipients[i] == r {
			return i, true
		}
	}
	return len(s.Entry.Recipients), false
}

// OnEnd has f called once when the submission is over, whatever came of it: accepted
// means that the message is durable. f returns soon.
func (s *Submission) OnEnd(f func(accepted bool)) { s.ends = append(s.ends, f) }

// End says that the submission is over. The server calls it at every end, of which only the first
// counts; a policy never does.
func (s *Submission) End(accepted bool) {
	for len(s.ends) > 0 { // one that panics is not called again, those behind it are
		f := s.ends[0]
		s.ends = s.ends[1:]
		f(accepted)
	}
}

// Message is a submission's body before it is stored.
type Message struct {
	// Open reads the message from its start, as submitted.
	Open func() (io.ReadCloser, error)
	// Size of it, in octets.
	Size int64

	header []byte
	memo   *memo
}

// NewMessage returns the message that open reads.
func NewMessage(size int64, open func() (io.ReadCloser, error)) *Message {
	return &Message{Open: open, Size: size, memo: new(memo)}
}

// Prepend puts a header field before the message, above those prepended earlier.
// The field is complete, folded and ends in CRLF.
func (m *Message) Prepend(field string) {
	m.header = append([]byte(field), m.header...)
}

// Prepended are the fields that policies have put before the message so far.
func (m *Message) Prepended() []byte { return m.header }

// Once returns what find found for the key, which is asked only the first time: for what several
// policies want to know of a message, such as its structure. Keys are of types of their own.
func (m *Message) Once(key any, find func() (any, error)) (any, error) {
	m.memo.mu.Lock()
	defer m.memo.mu.Unlock()
	for _, r := range m.memo.found {
		if r.key == key {
			return r.value, r.err
		}
	}
	r := remembered{key: key}
	r.value, r.err = find()
	m.memo.found = append(m.memo.found, r)
	return r.value, r.err
}

// Preview returns a view of the message whose prepended fields go nowhere.
func (m *Message) Preview() *Message {
	view := *m
	view.header = append([]byte(nil), m.header...)
	return &view
}

type memo struct {
	mu    sync.Mutex
	found []remembered // a few
}

type remembered struct {
	key   any
	value any
	err   error
}
