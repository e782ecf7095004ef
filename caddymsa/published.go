package caddymsa

import "net/netip"

// KeyPublisher is an optional interface of a policy that signs: what DNS has to say of its keys.
type KeyPublisher interface {
	// KeyRecords are of the keys in force at this moment.
	KeyRecords() []KeyRecord
}

// KeyRecord is the TXT record of a DKIM key, at <selector>._domainkey.<domain>.
type KeyRecord struct {
	Domain   string // A-labels
	Selector string
	Text     string
}

// Egresser is an optional interface of a sink: it knows from which addresses its deliveries come.
type Egresser interface {
	// Egress are those that the configuration names.
	Egress() []netip.Addr
}
