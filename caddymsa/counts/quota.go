package counts

import "time"

// Quota is what a limit leaves somebody.
type Quota struct {
	// What is counted: messages, recipients or bytes.
	What string `json:"what"`
	// Per is in which time, "1h" or "day", or "message".
	Per string `json:"per"`
	// By is whose count it is, where that is not the user's own: an organisation's, a network's.
	By string `json:"by,omitempty"`
	// Unlimited: there is no limit for this user.
	Unlimited bool `json:"unlimited,omitempty"`
	// Allowed is how much there may be, and Left how much of it there may be at this moment.
	Allowed int64 `json:"allowed"`
	Left    int64 `json:"left"`
	// Back is when all of it is there again. Zero: it is, or nothing is counted.
	Back time.Time `json:"back,omitzero"`
	// Problem is why nobody can tell.
	Problem string `json:"problem,omitempty"`
}
