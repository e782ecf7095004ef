package dnscheck

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// MTASTS is a domain's policy of how mail to it is protected (RFC 8461).
type MTASTS struct {
	ID     string // of the record in DNS
	Mode   string // enforce, testing or none
	MX     []string
	MaxAge int // seconds
}

// maxPolicy is how much of a policy is read (RFC 8461 section 3.3).
const maxPolicy = 64 << 10

// MTASTS looks a domain's policy up: ErrNotFound if the domain has none. The client fetches it, and follows no redirects whatever
// it is set to.
func (r *Resolver) MTASTS(ctx context.Context, domain string, client *http.Client) (*MTASTS, error) {
	texts, err := r.TXT(ctx, "_mta-sts."+domain)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, t := range texts {
		if strings.HasPrefix(t, "v=STSv1;") {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("TXT of _mta-sts.%s: none begins with v=STSv1; (%w)", domain, ErrNotFound)
	case 1:
	default:
		return nil, fmt.Errorf("TXT of _mta-sts.%s: there are %d policies, so that senders take it that there is none", domain, len(found))
	}
	p := &MTASTS{ID: tag(found[0], "id")}
	if p.ID == "" {
		return nil, fmt.Errorf("TXT of _mta-sts.%s: %q has no id", domain, found[0])
	}
	url := "https://mta-sts." + domain + "/.well-known/mta-sts.txt"
	switch err := p.fetch(ctx, client, url); {
	case errors.Is(err, ErrNotFound): // which would say that there is no policy
		return nil, fmt.Errorf("%s: mta-sts.%s has no address", url, domain)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return p, nil
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
	return p.parse(io.LimitReader(response.Body, maxPolicy))
}

// parse reads a policy (RFC 8461 section 3.2).
func (p *MTASTS) parse(text io.Reader) error {
	lines := bufio.NewScanner(text)
	version := ""
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if value = strings.TrimSpace(value); !ok {
			continue
		}
		switch strings.TrimSpace(key) {
		case "version":
			version = value
		case "mode":
			p.Mode = value
		case "mx":
			p.MX = append(p.MX, strings.ToLower(value))
		case "max_age":
			p.MaxAge, _ = strconv.Atoi(value)
		}
	}
	switch {
	case lines.Err() != nil:
		return lines.Err()
	case version != "STSv1":
		return fmt.Errorf("its version is %q, not STSv1", version)
	case p.Mode != "enforce" && p.Mode != "testing" && p.Mode != "none":
		return fmt.Errorf("its mode is %q, not enforce, testing or none", p.Mode)
	case p.Mode != "none" && len(p.MX) == 0:
		return errors.New("it names no mx")
	case p.MaxAge <= 0:
		return errors.New("it has no max_age")
	}
	return nil
}

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
