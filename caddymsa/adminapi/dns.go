package adminapi

import (
	"net/netip"
	"time"
)

// DNS is the answer to GET /msa/dns: what records in DNS are made of.
type DNS struct {
	Servers []DNSServer `json:"servers"`
	// Machine has the addresses of the machine that others can see.
	Machine []netip.Addr `json:"machine,omitempty"`
}

// DNSServer is a server, by name.
type DNSServer struct {
	Name     string    `json:"name"`
	Hostname string    `json:"hostname"`
	Ports    []DNSPort `json:"ports"` // that clients reach, the preferred one first
	// Certificates are those that clients see, one for each kind of key that the server has: most clients the first one.
	// There is none before there is TLS.
	Certificates []DNSCertificate `json:"certificates,omitempty"`
	Keys         []DNSKey         `json:"keys,omitempty"`
	// Egress are addresses that mail leaves from, as far as routes name them.
	Egress []netip.Addr `json:"egress,omitempty"`
}

// DNSPort is a TCP port.
type DNSPort struct {
	Port        uint16 `json:"port"`
	ImplicitTLS bool   `json:"implicit_tls"`
}

// DNSCertificate is what a TLSA record is made of.
type DNSCertificate struct {
	SPKI     string    `json:"spki_sha256"` // of its public key, in hexadecimal
	NotAfter time.Time `json:"not_after"`
	// KeepsKey is set where a renewed certificate has the same key.
	KeepsKey bool `json:"keeps_key"`
}

// DNSKey is the TXT record of a DKIM key.
type DNSKey struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	Text     string `json:"text"`
}
