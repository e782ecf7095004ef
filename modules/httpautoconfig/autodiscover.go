package httpautoconfig

import (
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// Namespaces of Microsoft's Autodiscover, plain old XML ([MS-OXDSCLI]).
const (
	nsAutodiscover = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
	nsOutlook      = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

// Its error codes.
const (
	codeUnknownAddress = 500
	codeInvalidRequest = 600
	codeNoProvider     = 601 // for the schema that is asked for
)

// A request has an address and a name in it: this is how much of it is read, and for how long.
const (
	maxRequest     = 16 << 10
	requestTimeout = 10 * time.Second
)

type autodiscoverRequest struct {
	Addresses []string `xml:"Request>EMailAddress"`
	Schemas   []string `xml:"Request>AcceptableResponseSchema"`
}

type autodiscoverResponse struct {
	XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
	Response any      // an outlookResponse or an errorResponse
}

type outlookResponse struct {
	XMLName     xml.Name          `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
	DisplayName string            `xml:"User>DisplayName"`
	AccountType string            `xml:"Account>AccountType"`
	Action      string            `xml:"Account>Action"`
	Protocols   []outlookProtocol `xml:"Account>Protocol"`
}

type outlookProtocol struct {
	Type           string
	Server         string
	Port           uint16
	DomainRequired string
	LoginName      string
	SPA            string
	SSL            string
	Encryption     string
	AuthRequired   string
	UsePOPAuth     string `xml:",omitempty"`
	SMTPLast       string `xml:",omitempty"`
}

type errorResponse struct {
	XMLName xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Response"`
	Error   autodiscoverError
}

type autodiscoverError struct {
	Time      string `xml:",attr"`
	ID        string `xml:"Id,attr"`
	ErrorCode int
	Message   string
	DebugData string
}

// serveAutodiscover answers errors in the format's own way, as Exchange does: with status 200, unless the domain is not listed.
func (h *Handler) serveAutodiscover(w http.ResponseWriter, r *http.Request) error {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout)) // where the server can
	address, code := readAutodiscover(r)
	if code != 0 {
		return refuseAutodiscover(w, http.StatusOK, code)
	}
	if !h.answers(address.ASCIIDomain()) {
		return refuseAutodiscover(w, http.StatusNotFound, codeUnknownAddress)
	}
	a, err := h.account(w, address.ASCIIDomain())
	switch {
	case errors.Is(err, errNoWord):
		return refuseAutodiscover(w, http.StatusOK, codeNoProvider)
	case err != nil:
		return err
	case !a.passwords():
		h.warn("Outlook cannot log in by any mechanism that the server offers: it knows PLAIN and LOGIN")
		return refuseAutodiscover(w, http.StatusOK, codeNoProvider)
	}
	response := &outlookResponse{DisplayName: address.String(), AccountType: "email", Action: "settings"}
	login := h.login(address)
	for _, s := range a.incoming {
		response.Protocols = append(response.Protocols, s.outlook(login))
	}
	for _, s := range a.outgoing {
		p := s.outlook(login)
		p.SMTPLast, p.UsePOPAuth = "off", "off"
		if len(a.incoming) > 0 {
			p.UsePOPAuth = "on" // the same name and password
		}
		response.Protocols = append(response.Protocols, p)
	}
	return writeXML(w, http.StatusOK, "application/xml; charset=utf-8", autodiscoverResponse{Response: response})
}

// readAutodiscover returns a code if the request cannot be answered.
func readAutodiscover(r *http.Request) (address mailaddr.Address, code int) {
	if r.Method != http.MethodPost {
		return address, codeInvalidRequest
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil || len(text) > maxRequest {
		return address, codeInvalidRequest
	}
	// encoding/xml knows no entities but its own five, and fetches nothing.
	var request autodiscoverRequest
	if xml.Unmarshal(text, &request) != nil || len(request.Addresses) != 1 || len(request.Schemas) > 1 {
		return address, codeInvalidRequest
	}
	if len(request.Schemas) == 1 && strings.TrimSpace(request.Schemas[0]) != nsOutlook {
		return address, codeNoProvider // such as ActiveSync's
	}
	if address, err = parseAddress(strings.TrimSpace(request.Addresses[0])); err != nil {
		return address, codeInvalidRequest
	}
	return address, 0
}

func (s server) outlook(login string) outlookProtocol {
	p := outlookProtocol{Type: strings.ToUpper(s.protocol), Server: s.host, Port: s.port, DomainRequired: "off", LoginName: login,
		SPA: "off", SSL: "on", Encryption: "TLS", AuthRequired: "on"}
	if s.implicit {
		p.Encryption = "SSL"
	}
	return p
}

// messages of the codes.
var messages = map[int]string{
	codeUnknownAddress: "The email address can't be found.",
	codeInvalidRequest: "Invalid Request",
	codeNoProvider:     "Provider is not available",
}

func refuseAutodiscover(w http.ResponseWriter, status, code int) error {
	return writeXML(w, status, "application/xml; charset=utf-8", autodiscoverResponse{Response: errorResponse{Error: autodiscoverError{
		Time: time.Now().UTC().Format("15:04:05.0000000"), ID: "0", ErrorCode: code, Message: messages[code]}}})
}
