package authldap

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Where one connection is silent, others that nobody uses may be as dead: the next login does not wait to find that out.
func TestSilentConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := newServer("ldap://"+l.Addr().String(), &options{connections: 3, plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	none := func(*conn) error { return nil }
	// ask is about a server that is silent until the time is over, or the client is gone.
	ask := func(over bool) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var asked context.Context = ctx
		if over {
			asked = timeIsOver{ctx}
		}
		return s.do(asked, logins, none, func(*conn) error {
			cancel()
			return io.EOF
		})
	}
	var all, every sync.WaitGroup
	every.Add(3)
	for range 3 {
		all.Go(func() {
			if err := s.do(t.Context(), logins, none, func(*conn) error { every.Done(); every.Wait(); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(s.idle[logins]); n != 3 {
		t.Fatal(n)
	}
	if err := ask(false); err == nil || len(s.idle[logins]) != 2 {
		t.Errorf("a client that went away: %v, %d connections left", err, len(s.idle[logins]))
	}
	if err := ask(true); err == nil || len(s.idle[logins]) != 0 {
		t.Errorf("silence: %v, %d connections left", err, len(s.idle[logins]))
	}
}

// timeIsOver is a context whose end is one of time.
type timeIsOver struct{ context.Context }

func (c timeIsOver) Err() error {
	if c.Context.Err() == nil {
		return nil
	}
	return context.DeadlineExceeded
}
