package natsclient

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// A server that does not answer holds up nobody longer than they want to wait, and no reload: all wait for the same attempt.
func TestConnectToSilence(t *testing.T) {
	c, err := (&Config{URLs: []string{"nats://127.0.0.1:4222"}, Subject: "a"}).Open("messages", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	begun, answer := make(chan struct{}, 10), make(chan struct{})
	c.connect = func(string, ...nats.Option) (*nats.Conn, error) {
		begun <- struct{}{}
		<-answer
		return nil, failed
	}
	first := make(chan error)
	go func() {
		_, err := c.Connect(t.Context())
		first <- err
	}()
	<-begun
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Connect(gone); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.Close()
	close(answer)
	if err := <-first; !errors.Is(err, failed) || len(begun) > 0 {
		t.Errorf("%v, %d more attempts", err, len(begun))
	}
	if _, err := c.Connect(t.Context()); !errors.Is(err, failed) || len(begun) != 1 { // another attempt
		t.Errorf("%v, %d attempts", err, len(begun))
	}
}

// Placeholders may stand in all that says where to publish, and as whom.
func TestPlaceholders(t *testing.T) {
	t.Setenv("MSA_WORD", "mail")
	c := &Config{URLs: []string{"nats://127.0.0.1:4222"}, Subject: "{env.MSA_WORD}.in", Stream: "{env.MSA_WORD}", Username: "{env.MSA_WORD}"}
	client, err := c.Open("messages", zap.NewNop())
	if err != nil || client.Subject() != "mail.in" || client.stream != "mail" || c.Username != "mail" {
		t.Errorf("%+v, %v", c, err)
	}
	c = &Config{URLs: []string{"nats://127.0.0.1:4222"}, Subject: "a", Username: "{env.MSA_NOT_SET}"}
	if _, err := c.Open("messages", zap.NewNop()); err == nil || err.Error() != "username: {env.MSA_NOT_SET} is empty or not set" {
		t.Error(err)
	}
}
