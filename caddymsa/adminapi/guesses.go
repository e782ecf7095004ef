package adminapi

import "time"

// Guesses is what GET /msa/guesses answers: who was refused lately, and who is blocked. It is this process's own.
type Guesses struct {
	// Refusals are those that are alike together, the latest first, at most 1000. Strangers can fill this list, but not
	// with more than a hundred of one network.
	Refusals []Refusals `json:"refusals"`
	// Blocks are those that are in force, the longest first.
	Blocks []Block `json:"blocks"`
}

// Refusals are those of one server, network, user, moment and rule.
type Refusals struct {
	Server  string `json:"server"`
	Network string `json:"network,omitempty"` // of the client; empty: a unix socket
	// User who logged in, or, where Stranger, whom the client said it was.
	User     string `json:"user,omitempty"`
	Stranger bool   `json:"stranger,omitempty"`
	// Moment is the verb: AUTH, MAIL, RCPT, DATA and so on.
	Moment string `json:"moment"`
	// Rule is the policy that refused; of AUTH the reason (unknown, wrong, disabled, blocked, ...), if it is known.
	Rule string `json:"rule,omitempty"`

	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// IP, Helo, Reply and Cause are the last one's.
	IP    string `json:"ip,omitempty"`
	Helo  string `json:"helo,omitempty"`
	Reply string `json:"reply,omitempty"`
	Cause string `json:"cause,omitempty"`
}

// Block is a network from which no log-in is looked at, of any user or of one.
type Block struct {
	Server  string    `json:"server"`
	Network string    `json:"network"`
	User    string    `json:"user,omitempty"` // empty: anybody's
	Until   time.Time `json:"until"`
}

// BlockLift is what POST /msa/guess-actions/lift takes.
type BlockLift struct {
	// Server whose block it is. Empty: every server's.
	Server  string `json:"server,omitempty"`
	Network string `json:"network"` // or an address in it
	Reason  string `json:"reason,omitempty"`
}

// BlocksLifted is its answer.
type BlocksLifted struct {
	Lifted int `json:"lifted"` // blocks, of users there included
}
