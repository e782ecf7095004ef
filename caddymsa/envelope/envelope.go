// Package envelope is what sinks that are not mail servers hand on beside a message: the envelope
// as JSON, and names by which a message that comes again is known.
package envelope

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// Envelope is one delivery's. Fields are only ever added.
type Envelope struct {
	ID       string    `json:"id"`             // queue id, which the client was told
	Key      string    `json:"key"`            // see Key
	Server   string    `json:"server"`         // that accepted the message
	Accepted time.Time `json:"accepted"`       // when
	Size     int64     `json:"size"`           // octets of the message
	Attempt  int       `json:"attempt"`        // 1 for the first
	Copy     string    `json:"copy,omitempty"` // the copy's name, if it is one

	Sender     string      `json:"sender"` // return path without brackets; "" for <>
	Recipients []Recipient `json:"recipients"`
	Bounce     bool        `json:"bounce,omitempty"`   // it is a notification of this server's
	Body       string      `json:"body,omitempty"`     // 7BIT or 8BITMIME, if the client said so
	SMTPUTF8   bool        `json:"smtputf8,omitempty"` // RFC 6531
	Return     string      `json:"ret,omitempty"`      // FULL or HDRS (RFC 3461)
	EnvelopeID string      `json:"envid,omitempty"`    // ENVID, decoded
	Priority   int         `json:"priority,omitempty"` // MT-PRIORITY (RFC 6710)

	User       string            `json:"user,omitempty"`       // who submitted it
	Attributes map[string]string `json:"attributes,omitempty"` // of the user, as the auth backend gave them
	RemoteIP   string            `json:"remote_ip,omitempty"`  // of the client
	Helo       string            `json:"helo,omitempty"`       // what the client called itself
	TLS        string            `json:"tls,omitempty"`        // version and cipher
	Session    string            `json:"session,omitempty"`    // id, as in the log

	Shortened bool `json:"shortened,omitempty"` // something was left out because there was no room: attributes first
}

// Recipient is one recipient of the delivery.
type Recipient struct {
	Address string   `json:"address"`
	Notify  []string `json:"notify,omitempty"` // NOTIFY of RFC 3461
	ORCPT   string   `json:"orcpt,omitempty"`
}

// Of describes a delivery.
func Of(d *queue.Delivery) Envelope {
	e := d.Entry
	v := Envelope{
		ID: e.ID, Key: Key(d), Server: e.Server, Accepted: e.Accepted.UTC(), Size: e.Size, Attempt: max(1, d.Attempt), Copy: d.Copy,
		Sender: e.Sender, Bounce: e.Bounce, Body: e.Body, SMTPUTF8: e.SMTPUTF8, Return: e.Return, EnvelopeID: e.EnvelopeID, Priority: e.Priority,
		User: e.User, Attributes: e.Attributes, RemoteIP: e.RemoteIP, Helo: e.Helo, TLS: e.TLS, Session: e.Session,
	}
	for _, r := range d.Recipients {
		v.Recipients = append(v.Recipients, Recipient{Address: r.Complete(), Notify: r.Notify, ORCPT: r.ORCPT})
	}
	return v
}

// Key names a delivery: the queue id and a hash of the recipients, and of the name of a copy. It is the same in every
// attempt at the same recipients and in no other delivery, so that whoever gets one twice, because
// an answer was lost, can know it. It is made of letters, digits and a hyphen.
func Key(d *queue.Delivery) string {
	var all []string
	for _, r := range d.Recipients {
		all = append(all, r.Complete())
	}
	slices.Sort(all)
	if d.Copy != "" {
		all = append(all, "copy "+d.Copy)
	}
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	return clean(d.Entry.ID) + "-" + hex.EncodeToString(sum[:8])
}

// clean is for ids that others made.
func clean(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, id[:min(len(id), 80)])
}
