package httpsubmit

import (
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// parameters that a query can have: those of MAIL and RCPT, by the names of their values.
var parameters = []string{"from", "to", "envelope", "body", "smtputf8", "ret", "envid", "notify", "priority"}

// query reads what the query says of the envelope. A word that cannot be read must not be passed over.
func query(raw string) (e *smtpd.Envelope, values url.Values, err error) {
	values, err = url.ParseQuery(raw)
	if err != nil {
		return nil, nil, bad("The query cannot be read: write %% and two digits for what has a meaning in it")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(parameters, name):
			return nil, nil, bad("The query has an unknown parameter; known are %s", strings.Join(parameters, ", "))
		case len(all) > 1 && name != "to":
			return nil, nil, bad("Parameter %s is specified twice", name)
		case all[0] == "" && name != "from" && name != "to": // nor an empty one, which SMTP does not have
			return nil, nil, bad("Parameter %s is empty", name)
		}
	}
	e = &smtpd.Envelope{Sender: values.Get("from"), Recipients: values["to"], Body: values.Get("body"), Return: values.Get("ret"),
		EnvelopeID: values.Get("envid"), Notify: values.Get("notify"), Priority: values.Get("priority")}
	switch values.Get("smtputf8") {
	case "":
	case "1", "true":
		e.UTF8 = true
	default:
		return nil, nil, bad("smtputf8 is 1, or left out")
	}
	if word := values.Get("envelope"); word != "" && word != "header" {
		return nil, nil, bad("envelope is header, or left out")
	}
	return e, values, nil
}
