package sasl

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/emersion/go-sasl"
)

// passwords is a PasswordFunc over one user; its zero value knows nobody.
type passwords struct {
	user, password string
	asked          []string // what came to be checked
	fail           error    // instead of an answer
}

func (p *passwords) check(user, password string) error {
	p.asked = append(p.asked, user+"|"+password)
	if p.fail != nil {
		return p.fail
	}
	if user == p.user && password == p.password {
		return nil
	}
	return ErrCredentials
}

// errCannotTell stands for a backend that is down.
var errCannotTell = errors.New("backend is down")

// fixedRand makes nonces predictable: 128 zero bits.
func fixedRand() io.Reader { return bytes.NewReader(make([]byte, nonceSize)) }

const fixedNonce = "00000000000000000000000000000000"

// exchange drives a server with a client until one of them is through. The
// error is the server's, or else the client's.
func exchange(t *testing.T, server sasl.Server, client sasl.Client) error {
	t.Helper()
	_, response, err := client.Start()
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	for range 6 {
		challenge, done, err := server.Next(response)
		if err != nil {
			return err
		}
		if done {
			if len(challenge) > 0 {
				t.Fatalf("challenge %q with done: SMTP cannot send it", challenge)
			}
			return nil
		}
		if challenge == nil {
			t.Fatal("neither challenge nor done nor error")
		}
		if response, err = client.Next(challenge); err != nil {
			return err
		}
		if response == nil {
			t.Fatal("nil response: go-smtp's client would stop without a word")
		}
	}
	t.Fatal("the exchange has no end")
	return nil
}

// say sends responses to s in turn and returns the last outcome; all but the
// last must be answered by a challenge.
func say(t *testing.T, s sasl.Server, responses ...[]byte) (challenge string, done bool, err error) {
	t.Helper()
	var c []byte
	for i, r := range responses {
		c, done, err = s.Next(r)
		if i < len(responses)-1 && (done || err != nil) {
			t.Fatalf("step %d: done=%v, err=%v", i, done, err)
		}
	}
	return string(c), done, err
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// wantOver checks that a finished server does not begin anew.
func wantOver(t *testing.T, s sasl.Server) {
	t.Helper()
	for _, r := range [][]byte{nil, {}, []byte("x")} {
		if _, done, err := s.Next(r); done || !errors.Is(err, ErrMalformed) {
			t.Fatalf("after the end: done=%v, err=%v", done, err)
		}
	}
}
