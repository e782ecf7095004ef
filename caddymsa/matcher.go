package caddymsa

import (
	"context"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Matcher is a module in the namespace msa.matchers: it says yes or no to a
// submission. It asks only about what is stored with an entry, since routes are
// chosen again at delivery.
type Matcher interface {
	// Match is called concurrently. r is nil before a recipient is known, which
	// a matcher only sees if its Moment says that it can do without.
	Match(e *queue.Entry, r *queue.Recipient) (bool, error)
	// Moment is the earliest at which Match can be answered.
	Moment() Moment
}

// MessageMatcher is an optional interface of a matcher that asks about the message itself, and
// whose Moment is then MomentMessage. Only policies can have such.
type MessageMatcher interface {
	MatchMessage(ctx context.Context, s *Submission, r *queue.Recipient, m *Message) (bool, error)
}

// FacetMatcher is an optional interface of a matcher that can be looked up: Match says yes only where the
// facet has one of the values, which do not change once the matcher is provisioned. It may still
// say no there. So a thousand routes or policies are not asked one by one.
type FacetMatcher interface {
	// Facet returns the values in the form that the facet has; none if the matcher cannot be looked up.
	Facet() (Facet, []string)
}

// Facet is a fact about a submission that many matchers ask about.
type Facet int

// Facets of a submission. Domains are written as mailaddr.DomainPattern.Key has them, users as names.Fold does,
// networks as netip.Prefix.Masked.
const (
	FacetRecipientDomain Facet = iota
	FacetSenderDomain
	FacetUser
	FacetRemoteIP
	Facets int = iota // how many there are
)

// Moment is how far a submission has come.
type Moment int

// Moments of a submission, in order.
const (
	MomentConnection Moment = iota // the client and who it is
	MomentSender                   // MAIL
	MomentRecipient                // RCPT
	MomentMessage                  // the end of data
)
