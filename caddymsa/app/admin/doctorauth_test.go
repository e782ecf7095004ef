package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// some is a database of which the first users are looked at.
type some struct {
	users, without int
	err            error
}

func (s some) Sample(_ context.Context, _ caddymsa.Capability, _ []string, most int) (users, without int, err error) {
	return min(s.users, most), s.without, s.err
}

// The doctor says how many users cannot use what is offered, of a database too, as far as it looks.
func TestMechanismsOfDatabase(t *testing.T) {
	for _, tt := range []struct {
		of   some
		want string
	}{
		{some{users: 5000, without: 3}, "SCRAM-SHA-256 is offered, and 3 of the first 200 users of backend sql have nothing stored that it needs"},
		{some{users: 5000}, "offered are SCRAM-SHA-256, PLAIN"},
		{some{err: errors.New("no answer")}, "offered are SCRAM-SHA-256, PLAIN"},
	} {
		s := &Server{Name: "main", Mechanisms: []string{"SCRAM-SHA-256", "PLAIN"}, Backends: []Backend{{ID: "sql", Module: tt.of}}}
		if got := fmt.Sprint(s.mechanisms(context.Background())); !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %s, want %s", tt.of, got, tt.want)
		}
	}
}
