package adminapi

import "github.com/caddy-msa/caddy-msa/caddymsa/doctor"

// DoctorRequest asks what is wrong with the servers that run: the body of POST /msa/doctor.
type DoctorRequest struct {
	// Server to look at, by name. Empty: all of them.
	Server string `json:"server,omitempty"`
	// Domains that clients send as, whose records in DNS are looked at beside those that have a DKIM key.
	Domains []string `json:"domains,omitempty"`
	// Egress are the IP addresses that mail leaves from, as others see them. Default: those of this machine, if others can see them.
	Egress []string `json:"egress,omitempty"`
	// Resolver is the name server to ask, host:port. Default: the system's.
	Resolver string `json:"resolver,omitempty"`
	// Outside has the server look at its own ports too, as a client on this machine does. Its findings are then those of
	// `caddy msa doctor`, but for a log-in and a submission.
	Outside bool `json:"outside,omitempty"`
}

// DoctorAnswer is what the servers found.
type DoctorAnswer struct {
	Findings []doctor.Finding `json:"findings"`
	// Servers are those that were looked at, for who goes on from outside.
	Servers []DoctorServer `json:"servers"`
}

// DoctorServer is how a server is reached, and what it is to show there.
type DoctorServer struct {
	Name     string `json:"name"`
	Hostname string `json:"hostname"`
	// StartTLS and Implicit are addresses of this machine, host:port.
	StartTLS []string `json:"starttls,omitempty"`
	Implicit []string `json:"implicit,omitempty"`
	// Fingerprint is the SHA-256 of the certificate in force, in hexadecimal.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Behind is set where clients on this machine are taken for a balancer that speaks the PROXY protocol.
	Behind bool `json:"behind,omitempty"`
}
