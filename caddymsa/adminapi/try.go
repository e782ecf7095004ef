package adminapi

// TryMessage is what POST /msa/try/message takes: a short message that is submitted to a server of this process, as a client does.
type TryMessage struct {
	// Server by name.
	Server string `json:"server"`
	// StartTLS has TLS begin with STARTTLS, and not with the first byte.
	StartTLS bool     `json:"starttls,omitempty"`
	User     string   `json:"user"`
	Password string   `json:"password,omitempty"`
	Token    string   `json:"token,omitempty"`
	From     string   `json:"from,omitempty"` // default: User
	To       []string `json:"to"`             // at most 10
	Subject  string   `json:"subject,omitempty"`
}

// TriedMessage is its answer.
type TriedMessage struct {
	// Dialogue is what both sides said: "C: ...", "S: ...", and of TLS "-- ...". Passwords are not among it.
	Dialogue []string `json:"dialogue"`
	ID       string   `json:"id,omitempty"`    // the queue id, where the message was accepted
	Error    string   `json:"error,omitempty"` // why it was not
}
