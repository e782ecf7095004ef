package adminapi

import "time"

// Now is what GET /msa/now answers: how it goes at this moment.
type Now struct {
	Time time.Time `json:"time"`
	// LastMinute is what the last sixty seconds had; Minutes are the sixty before the one that runs, the oldest first, and that.
	// They are this process's own.
	LastMinute Tally    `json:"last_minute"`
	Minutes    []Minute `json:"minutes"`

	Spools       []SpoolSize   `json:"spools"`
	Certificates []Certificate `json:"certificates"`
	Sessions     []Sessions    `json:"sessions"`
	Health
}

// Tally counts messages that were accepted and refused (also senders and recipients that were, and log-ins), and recipients
// that were delivered, deferred and failed.
type Tally struct {
	Accepted  int `json:"accepted"`
	Delivered int `json:"delivered"`
	Deferred  int `json:"deferred"`
	Failed    int `json:"failed"`
	Refused   int `json:"refused"`
}

// Minute is what happened in the minute that begins at Time.
type Minute struct {
	Time time.Time `json:"time"`
	Tally
}

// SpoolSize is how much is in a spool.
type SpoolSize struct {
	Spool    string    `json:"spool"`
	Former   bool      `json:"former,omitempty"` // a former configuration left it
	Messages int       `json:"messages"`
	Octets   int64     `json:"octets"`
	Oldest   time.Time `json:"oldest,omitzero"` // when the oldest message was accepted
	OldestID string    `json:"oldest_id,omitempty"`
	// Free and Total are octets of the disk that it is on; 0 where it is on none of this machine's. Reserve of them stay free.
	Free    int64  `json:"free,omitempty"`
	Total   int64  `json:"total,omitempty"`
	Reserve int64  `json:"reserve,omitempty"`
	Error   string `json:"error,omitempty"` // why this is not known
}

// Certificate is what a server shows to clients that ask for its hostname.
type Certificate struct {
	Server    string    `json:"server"`
	Hostname  string    `json:"hostname"`
	Issuer    string    `json:"issuer,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	Days      int       `json:"days"` // whole ones that are left
	Error     string    `json:"error,omitempty"`
}

// Sessions is how many are open.
type Sessions struct {
	Server string `json:"server"`
	Open   int    `json:"open"`
}
