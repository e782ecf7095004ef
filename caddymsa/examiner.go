package caddymsa

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// Examiner is an optional interface of any module: it looks at what it depends on (a next hop, a database, a key's record in DNS) for
// `caddy msa doctor`, and says what is wrong with it and what to do. Of a module without it no more is said than that.
type Examiner interface {
	// Examine does no harm: it delivers nothing, guesses no password, and leaves nothing behind. It returns soon after
	// ctx ends.
	Examine(ctx context.Context, x Examination) []doctor.Finding
}

// Examination is what an Examiner may want to know.
type Examination struct {
	// Subject is how findings name the module, as in "server msa.example.org: route relay".
	Subject string
	// Hostname is the server's.
	Hostname string
	// MessageSize is how many octets a message that the server takes may have.
	MessageSize int64
	// Resolver is the name server to ask, host:port; empty: the system's.
	Resolver string
	// Domains are those that clients send as, as far as they are known.
	Domains []string
}
