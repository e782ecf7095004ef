package msatest_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// subject is a policy: messages need a subject.
type subject struct{}

func (subject) CheckMessage(_ context.Context, _ *caddymsa.Submission, m *caddymsa.Message) error {
	header, err := message.HeaderOf(m)
	if err != nil {
		return err
	}
	if _, ok := header.First("Subject"); !ok {
		return caddymsa.Refuse("subject", "A subject is required")
	}
	m.Prepend("X-Subject: seen\r\n")
	return nil
}

// The suite in a test of a policy's own: what it refuses is said, hostile messages, a broken disk and
// the rest come by themselves.
func ExamplePolicy() {
	_ = func(t *testing.T) { // TestConformance
		msatest.Policy(t, func(testing.TB) any { return subject{} },
			msatest.PolicyCase{Name: "subject", Message: "Subject: x\r\n\r\n"},
			msatest.PolicyCase{Name: "none", Message: "From: a@b.example\r\n\r\n", Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "subject"},
		)
	}
}

// A single submission through all moments of a policy, for what the suite does not look at.
func ExampleSubmit() {
	for _, octets := range []string{"Subject: x\r\n\r\n", "From: a@b.example\r\n\r\n"} {
		s := msatest.NewSubmission("alice", "alice@example.org")
		m := msatest.NewMessage(octets)
		err := msatest.Submit(context.Background(), subject{}, s, []string{"bob@example.net"}, m)
		fmt.Printf("%v, prepended %q\n", err, m.Prepended())
	}
	// Output:
	// <nil>, prepended "X-Subject: seen\r\n"
	// 550 5.7.1 A subject is required, prepended ""
}

// shelf is a sink that keeps messages in memory.
type shelf struct {
	mu       sync.Mutex
	messages [][]byte
}

func (s *shelf) Deliver(ctx context.Context, d *queue.Delivery) error {
	r, err := d.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	octets, err := io.ReadAll(until{ctx, r})
	if err != nil {
		return err // half a message is no message
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, octets)
	return nil
}

// until reads for as long as the context stands.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

func (s *shelf) all() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages
}

// The suite in a test of a sink's own.
func ExampleSink() {
	_ = func(t *testing.T) { // TestConformance
		msatest.Sink(t, func(testing.TB) (queue.Sink, func() [][]byte) {
			s := new(shelf)
			return s, s.all
		})
	}
}

// The examples above are sound.
func TestExamples(t *testing.T) {
	msatest.Policy(t, func(testing.TB) any { return subject{} },
		msatest.PolicyCase{Name: "subject", Message: "Subject: x\r\n\r\n"},
		msatest.PolicyCase{Name: "none", Message: "From: a@b.example\r\n\r\n", Code: 550, Status: smtp.EnhancedCode{5, 7, 1}, Rule: "subject"},
	)
	msatest.Sink(t, func(testing.TB) (queue.Sink, func() [][]byte) {
		s := new(shelf)
		return s, s.all
	})
}

// One attempt to deliver, by hand.
func ExampleNewDelivery() {
	s := new(shelf)
	err := s.Deliver(context.Background(), msatest.NewDelivery([]byte("Subject: x\r\n\r\nHello.\r\n"), "bob@example.org"))
	fmt.Printf("%v %q\n", err, s.all())

	fmt.Println(msatest.IsPermanent(io.ErrUnexpectedEOF), msatest.IsPermanent(queue.Permanent(io.ErrUnexpectedEOF)))
	// Output:
	// <nil> ["Subject: x\r\n\r\nHello.\r\n"]
	// false true
}
