package records

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// mtaSTS looks at the policy by which others protect mail to the domain, bounces and answers (RFC 8461).
func (z *Zone) mtaSTS(ctx context.Context, domain string) []doctor.Finding {
	n := doctor.About("mta-sts", domain)
	record := `_mta-sts.` + domain + `. TXT "v=STSv1; id=<letters and digits, others with each change>;"`
	p, err := z.Resolver.MTASTS(ctx, domain, z.Web)
	switch {
	case errors.Is(err, dnscheck.ErrNotFound):
		if z.unannounced(ctx, domain) {
			n.Warn("publish: "+record, "there is a policy at https://mta-sts.%s, and no record says so: senders do not look for it", domain)
		} else {
			n.Skip("publish one if the domain takes mail: a TXT record of _mta-sts."+domain+" and a page at mta-sts."+domain, "there is no policy: others may send to the domain without TLS")
		}
		return n.Findings
	case errors.Is(err, dnscheck.ErrMTASTSRecord):
		n.Wrong("publish one record: "+record, "%v", err)
		return n.Findings
	case errors.Is(err, dnscheck.ErrMTASTSPage):
		n.Wrong("have the page answer with a policy (docs/dns.md has an example), or take the record away: senders who keep an older policy go by that", "%v", err)
		return n.Findings
	case err != nil:
		unanswered(n, err)
		return n.Findings
	}
	z.exchangers(ctx, n, domain, p)
	ofMode(n, p)
	ofAge(n, p)
	ofID(n, p)
	if n.Clean() {
		n.OK("the policy is in order (%s)", p.Mode)
	}
	return n.Findings
}

// unannounced tells whether there is a policy that no record leads to.
func (z *Zone) unannounced(ctx context.Context, domain string) bool {
	if _, err := z.Resolver.Addresses(ctx, "mta-sts."+domain); err != nil {
		return false
	}
	_, err := dnscheck.MTASTSPage(ctx, domain, z.Web)
	return err == nil
}

// exchangers looks whether the policy has the hosts that mail to the domain goes to.
func (z *Zone) exchangers(ctx context.Context, n *doctor.Notes, domain string, p *dnscheck.MTASTS) {
	all, err := z.Resolver.MX(ctx, domain)
	if err != nil && !errors.Is(err, dnscheck.ErrNotFound) {
		unanswered(n, err)
		return
	}
	hosts := []string{domain} // without MX (RFC 5321 section 5.1)
	if err == nil {
		hosts = nil
	}
	for _, mx := range all {
		hosts = append(hosts, strings.TrimSuffix(mx.Mx, "."))
	}
	for _, host := range hosts {
		switch {
		case p.Mode == "none" || host == "" || p.Covers(host): // "" is that the domain takes no mail (RFC 7505)
		case p.Mode == "enforce":
			n.Wrong("add mx: "+host+" to the policy, with a new id in the record", "senders do not deliver to %s, where mail to the domain goes, since it is not in the policy", host)
		default:
			n.Warn("add mx: "+host+" to the policy, with a new id in the record", "mail to the domain goes to %s, which is not in the policy: that is only tested yet", host)
		}
	}
}

func ofMode(n *doctor.Notes, p *dnscheck.MTASTS) {
	switch p.Mode {
	case "testing":
		n.Warn("when the reports (TLSRPT) show no failures, have the policy say mode: enforce, with a new id in the record", "its mode is testing: senders report what fails, and deliver without TLS all the same")
	case "none":
		n.Warn("say mode: enforce, with a new id in the record; or, if the policy is being withdrawn, take record and page away when the max_age of the one before is over", "its mode is none: others may send to the domain without TLS")
	}
}

// shortAge is what a policy is kept for at least that is of use: senders look for a new one about once a day.
const shortAge = 24 * time.Hour

func ofAge(n *doctor.Notes, p *dnscheck.MTASTS) {
	switch age := time.Duration(p.MaxAge) * time.Second; {
	case p.MaxAge > dnscheck.MaxMTASTSAge:
		n.Warn("say max_age: 604800 (a week) or more, up to 31557600, with a new id in the record", "its max_age is more than 31557600 seconds (a year), which senders may refuse")
	case age < shortAge && p.Mode != "none":
		n.Warn("say max_age: 604800 (a week) or more, with a new id in the record", "senders keep it only for %s (max_age), so that mail that comes seldom is not protected", age)
	}
}

// ofID looks whether senders hear of what the policy says now: they fetch it again when the id is another one.
func ofID(n *doctor.Notes, p *dnscheck.MTASTS) {
	const remedy = "if the policy's text was changed since the id was, give the record another id"
	now := dnscheck.PolicyID(p.Text)
	if at, ok := idTime(p.ID); ok && !p.Changed.IsZero() && p.Changed.After(at.Add(zones)) {
		n.Warn(remedy+"; if not, this is of no matter", "the page was changed on %s, after the time that the id %s names: senders may not have heard of it", p.Changed.UTC().Format(time.DateTime), p.ID)
	} else if ofText(p.ID) && p.ID != now {
		n.Warn(remedy+", such as "+now, "the id %s is that of another text, if caddy msa dns made it: senders may not have heard of this one", p.ID)
	}
}

// zones is how far local times are from the world's at most.
const zones = 14 * time.Hour

// ofText tells whether an id looks like one of dnscheck.PolicyID, and not like a number.
func ofText(id string) bool {
	return len(id) == len(dnscheck.PolicyID("")) && strings.Trim(id, "0123456789abcdef") == "" && strings.ContainsAny(id, "abcdef")
}

// idTime is the time that an id names, as most do: a date, with or without a time of day or a serial number, or seconds since 1970. Of
// what it leaves open it is the end.
func idTime(id string) (at time.Time, ok bool) {
	digits := strings.TrimSuffix(strings.Replace(id, "T", "", 1), "Z")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return at, false
	}
	for _, format := range []struct {
		layout string
		least  int // digits: two more than the day's are a number in the day
		end    time.Duration
	}{{"20060102150405", 14, 0}, {"200601021504", 12, time.Minute}, {"20060102", 8, 24 * time.Hour}} {
		if len(digits) < format.least {
			continue
		}
		if at, err := time.Parse(format.layout, digits[:format.least]); err == nil && at.Year() >= firstYear && at.Year() < lastYear {
			return at.Add(format.end), true
		}
	}
	const seconds, milliseconds = 10, 13 // digits, from 2001 to 2286
	if len(digits) != seconds && len(digits) != milliseconds {
		return at, false
	}
	since, err := strconv.ParseInt(digits[:seconds], 10, 64)
	return time.Unix(since, 0), err == nil
}

// An id is of a time since there have been such policies, and no number that looks like one.
const firstYear, lastYear = 2016, 2100
