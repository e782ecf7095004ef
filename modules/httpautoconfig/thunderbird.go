package httpautoconfig

import (
	"bytes"
	"encoding/xml"
	"net"
	"net/http"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// clientConfig is Thunderbird's format, which others read too:
// https://wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat
type clientConfig struct {
	XMLName  xml.Name      `xml:"clientConfig"`
	Version  string        `xml:"version,attr"`
	Provider emailProvider `xml:"emailProvider"`
}

type emailProvider struct {
	ID        string           `xml:"id,attr"`
	Domain    string           `xml:"domain"`
	Name      string           `xml:"displayName"`
	ShortName string           `xml:"displayShortName"`
	Incoming  []configuredPort `xml:"incomingServer"`
	Outgoing  []configuredPort `xml:"outgoingServer"`
}

type configuredPort struct {
	Type           string   `xml:"type,attr"`
	Hostname       string   `xml:"hostname"`
	Port           uint16   `xml:"port"`
	SocketType     string   `xml:"socketType"`
	Username       string   `xml:"username"`
	Authentication []string `xml:"authentication"`
}

// serveThunderbird answers with placeholders where the address belongs, which the program fills in: nothing of what it sent is
// in the answer but a domain that is listed.
func (h *Handler) serveThunderbird(w http.ResponseWriter, r *http.Request) error {
	if err := onlyGet(w, r); err != nil {
		return err
	}
	address, ok, err := asked(r, "emailaddress")
	if err != nil {
		return err
	}
	domain := address.ASCIIDomain()
	if !ok {
		domain = domainOfHost(r)
	}
	if !h.answers(domain) {
		return errNotOurs
	}
	a, err := h.account(w, domain)
	if err != nil {
		return err
	}
	words := a.authentication()
	if len(words) == 0 {
		h.warn("mail programs that read Thunderbird's format cannot log in by any mechanism that the server offers")
		return errNoWord
	}
	username := "%EMAILADDRESS%"
	if h.Username == "local_part" {
		username = "%EMAILLOCALPART%"
	}
	config := clientConfig{Version: "1.1", Provider: emailProvider{ID: domain, Domain: domain, Name: a.name, ShortName: a.name}}
	for _, s := range a.incoming {
		config.Provider.Incoming = append(config.Provider.Incoming, s.configured(username, []string{"password-cleartext"}))
	}
	for _, s := range a.outgoing {
		config.Provider.Outgoing = append(config.Provider.Outgoing, s.configured(username, words))
	}
	return writeXML(w, http.StatusOK, "text/xml; charset=utf-8", config)
}

func (s server) configured(username string, authentication []string) configuredPort {
	p := configuredPort{Type: s.protocol, Hostname: s.host, Port: s.port, SocketType: "STARTTLS", Username: username, Authentication: authentication}
	if s.implicit {
		p.SocketType = "SSL"
	}
	return p
}

// authentication are the format's words for the mechanisms, the one that most programs can use first. Its word
// password-encrypted is CRAM-MD5 for the programs that read it, which the server does not have; there is none for SCRAM.
func (a *account) authentication() (words []string) {
	if a.passwords() {
		words = append(words, "password-cleartext")
	}
	if a.offers(sasl.XOAuth2) || a.offers(sasl.OAuthBearer) {
		words = append(words, "OAuth2")
	}
	if a.offers(sasl.External) {
		words = append(words, "TLS-client-cert")
	}
	return words
}

// domainOfHost is the domain that a program means that does not tell the user's address: it comes to autoconfig.<domain>, or
// to the domain itself.
func domainOfHost(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host, err := mailaddr.ASCIIDomain(strings.TrimSuffix(host, "."))
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(host, "autoconfig.")
}

func writeXML(w http.ResponseWriter, status int, contentType string, v any) error {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	b.WriteByte('\n')
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	_, err := b.WriteTo(w)
	return err
}
