package queue

import "time"

// Answer is what a next hop said when it took a recipient's copy, or refused it, and how it was reached.
// It is for log, history and events; what it means for delivery is Report's.
type Answer struct {
	// Reply is the last line of dialogue that decided, such as "250 2.0.0 Ok: queued as 4XYZ".
	Reply string `json:"reply,omitempty"`
	// ID is the next hop's queue id where its reply names one.
	ID string `json:"id,omitempty"`
	// Host is the next hop's name, Address its IP address and port.
	Host    string `json:"host,omitempty"`
	Address string `json:"address,omitempty"`
	// TLS is version and cipher; empty in clear.
	TLS string `json:"tls,omitempty"`
}

// Final is called by a sink just before it does what cannot be taken back, such as sending the end of
// data: from here on the attempt is not interrupted by a reload, and its context lasts for the grace
// period. An error says that the attempt was interrupted before: the sink ends it and returns the error.
func (d *Delivery) Final() error {
	if d.final == nil {
		return nil
	}
	return d.final()
}

// OnFinal sets what Final does; the queue does, and a sink that wraps another one.
func (d *Delivery) OnFinal(f func() error) { d.final = f }

// Rate is how many messages a destination takes in a time. The zero value: any number.
type Rate struct {
	Messages int
	Per      time.Duration
}
