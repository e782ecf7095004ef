package nexthop

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// extensions are what a next hop offers in its reply to EHLO.
type extensions struct {
	pipelining, startTLS, dsn, eightBit, utf8, priority bool

	sized bool  // it takes SIZE on MAIL
	size  int64 // octets it takes at most; 0: it does not say

	auth []string // mechanisms, in capitals

	// RFC 9422; 0: no limit.
	maxMails, maxRecipients, maxDomains int
}

// parseExtensions reads the lines of a reply to EHLO. Keywords and parameters come in any case, and
// what is not understood is not offered.
func parseExtensions(lines []string) (x extensions) {
	for _, line := range lines[min(1, len(lines)):] {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 {
			continue
		}
		if list, ok := strings.CutPrefix(words[0], "AUTH="); ok { // as hops before RFC 2554 did
			words = append([]string{"AUTH", list}, words[1:]...)
		}
		switch keyword, parameters := words[0], words[1:]; keyword {
		case "PIPELINING":
			x.pipelining = true
		case "STARTTLS":
			x.startTLS = true
		case "DSN":
			x.dsn = true
		case "8BITMIME":
			x.eightBit = true
		case "SMTPUTF8":
			x.utf8 = true
		case "MT-PRIORITY":
			x.priority = true
		case "SIZE":
			x.sized = true
			if len(parameters) > 0 {
				x.size, _ = strconv.ParseInt(parameters[0], 10, 64)
				x.size = max(x.size, 0)
			}
		case "AUTH":
			for _, m := range parameters {
				if !slices.Contains(x.auth, m) {
					x.auth = append(x.auth, m)
				}
			}
		case "LIMITS":
			x.limits(parameters)
		}
	}
	return x
}

// limits reads the parameters of LIMITS (RFC 9422 section 4).
func (x *extensions) limits(parameters []string) {
	for _, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || n == 0 {
			continue
		}
		limit := int(min(n, math.MaxInt32))
		switch name {
		case "MAILMAX":
			x.maxMails = limit
		case "RCPTMAX":
			x.maxRecipients = limit
		case "RCPTDOMAINMAX":
			x.maxDomains = limit
		}
	}
}
