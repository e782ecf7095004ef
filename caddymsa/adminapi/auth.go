package adminapi

// AuthTestRequest asks which backend accepts a user: the body of POST /msa/auth/test.
type AuthTestRequest struct {
	// Server to ask, by name. Empty: all of them.
	Server string `json:"server,omitempty"`
	User   string `json:"user"`
	// Password or Token to try. Without either the answer is what the user could use.
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`
	// IP is the address to come from. Default 127.0.0.1.
	IP string `json:"ip,omitempty"`
}

// AuthTestAnswer is what one backend says, in the order in which they are asked.
type AuthTestAnswer struct {
	Server  string `json:"server"`
	Backend string `json:"backend"`
	// Result is "accepted", "refused", "cannot_tell", or "known" for a user who
	// was found without a password to try. Empty: the backend has no way to say.
	Result string `json:"result"`
	// Reason is why the user is refused, if the backend says so: "unknown", "wrong" (password), "disabled",
	// "address" (it may not come from there) or "no_credential" (nothing is stored that would do).
	Reason string `json:"reason,omitempty"`
	// Error is the cause of cannot_tell, or of refused, in words.
	Error string `json:"error,omitempty"`
	// Mechanisms are those offered that this backend would let the user in with.
	Mechanisms []string `json:"mechanisms"`
	// Addresses are those that the user may send as, beside a name that is one.
	Addresses  []string          `json:"addresses,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}
