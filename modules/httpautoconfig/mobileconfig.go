package httpautoconfig

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
	"howett.net/plist"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// profile is Apple's configuration profile:
// https://developer.apple.com/documentation/devicemanagement/toplevel
type profile struct {
	Type         string `plist:"PayloadType"`
	Version      int    `plist:"PayloadVersion"`
	Identifier   string `plist:"PayloadIdentifier"`
	UUID         string `plist:"PayloadUUID"`
	DisplayName  string `plist:"PayloadDisplayName"`
	Organization string `plist:"PayloadOrganization"`
	Description  string `plist:"PayloadDescription"`
	Content      []mail `plist:"PayloadContent"`
}

// mail is the payload com.apple.mail.managed. The user is asked for the password.
type mail struct {
	Type        string `plist:"PayloadType"`
	Version     int    `plist:"PayloadVersion"`
	Identifier  string `plist:"PayloadIdentifier"`
	UUID        string `plist:"PayloadUUID"`
	DisplayName string `plist:"PayloadDisplayName"`

	AccountDescription string `plist:"EmailAccountDescription"`
	AccountType        string `plist:"EmailAccountType"`
	Address            string `plist:"EmailAddress"`

	InAuthentication string `plist:"IncomingMailServerAuthentication"`
	InHost           string `plist:"IncomingMailServerHostName"`
	InPort           uint16 `plist:"IncomingMailServerPortNumber"`
	InTLS            bool   `plist:"IncomingMailServerUseSSL"`
	InUsername       string `plist:"IncomingMailServerUsername"`

	OutAuthentication string `plist:"OutgoingMailServerAuthentication"`
	OutHost           string `plist:"OutgoingMailServerHostName"`
	OutPort           uint16 `plist:"OutgoingMailServerPortNumber"`
	OutTLS            bool   `plist:"OutgoingMailServerUseSSL"`
	OutUsername       string `plist:"OutgoingMailServerUsername"`
	SamePassword      bool   `plist:"OutgoingPasswordSameAsIncomingPassword"`
}

// serveMobileconfig answers with one user's profile, signed with the certificate that the site has.
func (h *Handler) serveMobileconfig(w http.ResponseWriter, r *http.Request) error {
	if err := onlyGet(w, r); err != nil {
		return err
	}
	address, ok, err := asked(r, "email", "emailaddress")
	if err != nil {
		return err
	}
	if !ok {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("the address is missing, as in ?email=alice@example.org"))
	}
	if !h.answers(address.ASCIIDomain()) {
		return errNotOurs
	}
	a, err := h.account(w, address.ASCIIDomain())
	if err != nil {
		return err
	}
	p, err := a.profile(address, h.login(address))
	if err != nil {
		h.warn("an iPhone or Mac asks for a profile, which needs imap or pop3, and PLAIN, LOGIN or DIGEST-MD5")
		return err
	}
	text, err := plist.MarshalIndent(p, plist.XMLFormat, "\t")
	if err != nil {
		return err
	}
	body, err := h.sign(r, text)
	if errors.Is(err, errNoCertificate) { // TLS ends before this Caddy
		h.warn("there is no certificate for the site that could sign; profiles are not signed")
		body, err = text, nil
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-apple-aspen-config")
	w.Header().Set("Content-Disposition", `attachment; filename="email.mobileconfig"`)
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(body)
	return err
}

// profile has the first port of each kind: the format has no alternatives.
func (a *account) profile(address mailaddr.Address, login string) (*profile, error) {
	authentication := "EmailAuthPassword"
	if !a.passwords() {
		authentication = "EmailAuthHTTPMD5"
		if !a.offers(sasl.DigestMD5) {
			return nil, errNoWord
		}
	}
	if len(a.incoming) == 0 {
		return nil, errNoWord
	}
	in, out := a.incoming[0], a.outgoing[0]
	id := reversed(a.hostname) + "." + stableID(a, address, "identifier")
	m := mail{
		Type: "com.apple.mail.managed", Version: 1, Identifier: id + ".mail", UUID: stableID(a, address, "mail"), DisplayName: a.name,
		AccountDescription: a.name, AccountType: "EmailTypeIMAP", Address: address.String(),
		InAuthentication: "EmailAuthPassword", InHost: in.host, InPort: in.port, InTLS: true, InUsername: login,
		OutAuthentication: authentication, OutHost: out.host, OutPort: out.port, OutTLS: true, OutUsername: login,
		SamePassword: true,
	}
	if in.protocol == pop3 {
		m.AccountType = "EmailTypePOP"
	}
	return &profile{
		Type: "Configuration", Version: 1, Identifier: id, UUID: stableID(a, address, "profile"), DisplayName: a.name,
		Organization: a.domain, Description: "Mail account " + address.String(), Content: []mail{m},
	}, nil
}

// stableID is the same for the same user whenever it is asked for, so that a profile replaces the one before.
func stableID(a *account, address mailaddr.Address, what string) string {
	name := strings.Join([]string{"caddy-msa", what, a.hostname, address.Key()}, "\n")
	return strings.ToUpper(uuid.NewSHA1(uuid.NameSpaceDNS, []byte(name)).String())
}

// reversed makes org.example.msa of msa.example.org.
func reversed(hostname string) string {
	labels := strings.Split(hostname, ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}
