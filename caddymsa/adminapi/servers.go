package adminapi

import "encoding/json"

// Servers is what GET /msa/servers answers: the configuration in force.
type Servers struct {
	Servers []Server `json:"servers"`
	// App is the msa app as it was loaded, with the defaults of what it leaves out. Secrets are REDACTED: fields that are
	// made for one, passwords in URLs, and whatever is called a password, a secret, a token or the like.
	App json.RawMessage `json:"app,omitempty"`
}

// Server is one of them in short.
type Server struct {
	Name       string   `json:"name"`
	Hostname   string   `json:"hostname"`
	Listen     []string `json:"listen"`     // STARTTLS
	ListenTLS  []string `json:"listen_tls"` // TLS from the first byte on
	Mechanisms []string `json:"mechanisms"`
	Backends   []string `json:"backends"`
	Policies   []string `json:"policies"` // in the order in which they are asked
	Routes     []string `json:"routes"`
}
