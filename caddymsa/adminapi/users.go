package adminapi

import "github.com/caddy-msa/caddy-msa/caddymsa/passwd"

// UserPage is what one backend says to GET /msa/users.
type UserPage struct {
	Server  string           `json:"server"`
	Backend string           `json:"backend"`
	Users   []passwd.Summary `json:"users"`
	// Next is what the next page begins after. Empty: there is none.
	Next string `json:"next,omitempty"`
	// Error is why the users are not known.
	Error string `json:"error,omitempty"`
}

// User is the answer of GET /msa/users/<name>.
type User struct {
	Server  string `json:"server"`
	Backend string `json:"backend"`
	passwd.Summary
}

// UserRequest is the body of POST /msa/user-actions/<action>.
type UserRequest struct {
	// Server and Backend to change the user of. Empty: the first backend that has the user.
	Server  string `json:"server,omitempty"`
	Backend string `json:"backend,omitempty"`
	User    string `json:"user"`
	// To is the new name, of rename.
	To string `json:"to,omitempty"`
	// Label of the application password.
	Label string `json:"label,omitempty"`
	// Expires is when a new one ends: a time or a day. Empty: it does not.
	Expires string `json:"expires,omitempty"`
	// AllowNets are where alone a new one may be used. Empty: anywhere.
	AllowNets []string `json:"allow_nets,omitempty"`
	// New makes the user in a backend app_passwords that cannot ask anybody whether there is one.
	New bool `json:"new,omitempty"`
	// Schemes to store a new one in. Default SCRAM-SHA-256.
	Schemes []string `json:"schemes,omitempty"`
}

// UserChanged is its answer.
type UserChanged struct {
	Server  string `json:"server"`
	Backend string `json:"backend"`
	User    string `json:"user"`
	Label   string `json:"label,omitempty"`
	// Secret is a new application password, which is not shown again.
	Secret string `json:"secret,omitempty"`
	// Note is what the operator has to know.
	Note string `json:"note,omitempty"`
}
