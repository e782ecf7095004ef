package dnscheck

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MTASTS is a domain's policy of how mail to it is protected (RFC 8461).
type MTASTS struct {
	ID     string // of the record in DNS
	Mode   string // enforce, testing or none
	MX     []string
	MaxAge int // seconds

	Text    string    // of the page
	Changed time.Time // when the page says that it was last changed; zero: it does not
}

var (
	// ErrMTASTSRecord is of a record in DNS from which senders learn of no policy.
	ErrMTASTSRecord = errors.New("senders learn of no policy from it")
	// ErrMTASTSPage is of a page that has no policy.
	ErrMTASTSPage = errors.New("the policy cannot be had")
)

// maxPolicy is how much of a policy is read (RFC 8461 section 3.3).
const maxPolicy = 64 << 10

// MTASTS looks a domain's policy up: ErrNotFound if no record says that the domain has one. The client fetches it, and follows
// no redirects whatever it is set to.
func (r *Resolver) MTASTS(ctx context.Context, domain string, client *http.Client) (*MTASTS, error) {
	id, err := r.mtastsID(ctx, domain)
	if err != nil {
		return nil, err
	}
	p, err := MTASTSPage(ctx, domain, client)
	if err != nil {
		return nil, err
	}
	p.ID = id
	return p, nil
}

// mtastsID is the id in the record of a domain (RFC 8461 section 3.1).
func (r *Resolver) mtastsID(ctx context.Context, domain string) (string, error) {
	texts, err := r.TXT(ctx, "_mta-sts."+domain)
	if err != nil {
		return "", err
	}
	var found []string
	for _, t := range texts {
		if strings.HasPrefix(t, "v=STSv1;") {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		for _, t := range texts {
			if strings.Contains(strings.ToLower(t), "stsv1") { // another may be there for all names, such as SPF's
				return "", fmt.Errorf("TXT of _mta-sts.%s: %q does not begin with v=STSv1; (%w)", domain, t, ErrMTASTSRecord)
			}
		}
		return "", fmt.Errorf("TXT of _mta-sts.%s: none begins with v=STSv1; (%w)", domain, ErrNotFound)
	case 1:
	default:
		return "", fmt.Errorf("TXT of _mta-sts.%s: there are %d policies (%w)", domain, len(found), ErrMTASTSRecord)
	}
	switch id := tag(found[0], "id"); {
	case id == "":
		return "", fmt.Errorf("TXT of _mta-sts.%s: %q has no id (%w)", domain, found[0], ErrMTASTSRecord)
	case !identifier.MatchString(id):
		return "", fmt.Errorf("TXT of _mta-sts.%s: the id %q is not one of 1 to 32 letters and digits (%w)", domain, id, ErrMTASTSRecord)
	default:
		return id, nil
	}
}

var identifier = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)

// MTASTSPage fetches the policy of a domain, whether a record says that it has one or not.
func MTASTSPage(ctx context.Context, domain string, client *http.Client) (*MTASTS, error) {
	url := "https://mta-sts." + domain + "/.well-known/mta-sts.txt"
	p := new(MTASTS)
	switch err := p.fetch(ctx, client, url); {
	case errors.Is(err, ErrNotFound): // which would say that there is no policy
		return nil, fmt.Errorf("%w: %s: mta-sts.%s has no address", ErrMTASTSPage, url, domain)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrMTASTSPage, url, err)
	}
	return p, nil
}

// PolicyID is the id that we give a policy: it changes with the text, whatever the ends of lines.
func PolicyID(text string) string {
	sum := sha256.Sum256([]byte(strings.Join(strings.Fields(text), " ")))
	return hex.EncodeToString(sum[:10])
}

// tag is the value of a tag in a list such as v=STSv1; id=1.
func tag(list, name string) string {
	for _, t := range strings.Split(list, ";") {
		if n, v, ok := strings.Cut(t, "="); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (p *MTASTS) fetch(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	strict := *client
	strict.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // RFC 8461 section 3.3
	response, err := strict.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch {
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("HTTP %s", response.Status)
	case kind != "text/plain":
		return fmt.Errorf("its type is %q, not text/plain", kind)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPolicy))
	if err != nil {
		return err
	}
	p.Text = string(text)
	p.Changed, _ = http.ParseTime(response.Header.Get("Last-Modified"))
	return p.parse(p.Text)
}

// parse reads a policy (RFC 8461 section 3.2). Of what is specified twice the first counts.
func (p *MTASTS) parse(text string) error {
	first := make(map[string]string)
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if _, known := first[key]; ok && key == "mx" {
			p.MX = append(p.MX, strings.ToLower(value))
		} else if ok && !known {
			first[key] = value
		}
	}
	p.Mode = first["mode"]
	age, err := strconv.ParseUint(first["max_age"], 10, 31)
	p.MaxAge = int(age)
	switch {
	case first["version"] != "STSv1":
		return fmt.Errorf("its version is %q, not STSv1", first["version"])
	case p.Mode != "enforce" && p.Mode != "testing" && p.Mode != "none":
		return fmt.Errorf("its mode is %q, not enforce, testing or none", p.Mode)
	case p.Mode != "none" && len(p.MX) == 0:
		return errors.New("it names no mx")
	case first["max_age"] == "":
		return errors.New("it has no max_age")
	case err != nil:
		return fmt.Errorf("its max_age is %q, not a number of seconds up to %d", first["max_age"], MaxMTASTSAge)
	}
	return nil
}

// MaxMTASTSAge is for how many seconds a policy may be kept.
const MaxMTASTSAge = 31557600

// Covers tells whether the policy names a mail exchanger (RFC 8461 section 4.1).
func (p *MTASTS) Covers(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, m := range p.MX {
		if rest, wild := strings.CutPrefix(m, "*."); wild {
			if _, parent, ok := strings.Cut(host, "."); ok && parent == rest {
				return true
			}
		} else if m == host {
			return true
		}
	}
	return false
}
