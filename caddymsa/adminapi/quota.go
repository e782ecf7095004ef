package adminapi

import "github.com/caddy-msa/caddy-msa/caddymsa/counts"

// UserQuota is what one server leaves a user: the answer of GET /msa/quota/<user> has one for each.
type UserQuota struct {
	Server string `json:"server"`
	User   string `json:"user"`
	// Backend that knows the user. Empty: none of those that can look users up does.
	Backend string        `json:"backend,omitempty"`
	Limits  []PolicyQuota `json:"limits"`
	// Note is why the amounts are those of a user without attributes, whoever it is. Empty: they are the user's own.
	Note string `json:"note,omitempty"`
}

// PolicyQuota is a limit of a policy.
type PolicyQuota struct {
	Policy string `json:"policy"`
	// Sometimes: its matchers ask about the message, so that it is not for all of the user's.
	Sometimes bool `json:"sometimes,omitempty"`
	// LogOnly: it refuses nothing.
	LogOnly bool `json:"log_only,omitempty"`
	counts.Quota
}
