package records

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// key looks whether signatures can be verified: the key that signs is the one that is published.
func (z *Zone) key(ctx context.Context, k Key) []doctor.Finding {
	name := k.Selector + "._domainkey." + k.Domain
	n := doctor.About("dkim", name)
	publish := fmt.Sprintf("publish: %s. TXT %q", name, k.Text)
	texts, err := z.Resolver.TXT(ctx, name)
	switch {
	case errors.Is(err, dnscheck.ErrNotFound):
		n.Wrong(publish, "signatures cannot be verified: there is no such record")
		return n.Findings
	case err != nil:
		unanswered(n, err)
		return n.Findings
	case len(texts) > 1:
		n.Wrong("leave one: "+publish, "there are %d records, of which verifiers take any (RFC 6376 section 3.6.2.2)", len(texts))
		return n.Findings
	}
	wantKind, want, _ := dnscheck.DKIMKey(k.Text)
	kind, key, ok := dnscheck.DKIMKey(texts[0])
	switch {
	case !ok:
		n.Wrong(publish, "what is published is not a DKIM record: %.80q", texts[0])
	case key == "":
		n.Wrong("sign with another selector, or "+publish, "the key was revoked: its record has an empty p=")
	case kind != wantKind || key != want:
		n.Wrong(publish, "signatures do not verify: the record has another key than the one that signs")
	default:
		n.OK("the record has the key that signs (%s)", kind)
	}
	return n.Findings
}
