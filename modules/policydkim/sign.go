package policydkim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// maxSigned is how many header fields are signed: that bounds h=, which names each of them.
const maxSigned = 200

// CheckMessage signs. The library go-msgauth verifies in the tests; it does not sign here, since its time
// grows with the square of the number of fields and folds, and its h= is one line.
func (p *DKIM) CheckMessage(ctx context.Context, _ *caddymsa.Submission, m *caddymsa.Message) error {
	header, err := message.HeaderOf(m)
	if err != nil {
		return err
	}
	domain := authorDomain(header)
	keys := p.keysFor(domain)
	if len(keys) == 0 {
		if p.Require {
			return caddymsa.Refuse("require", "Messages from %q cannot be signed here", domain)
		}
		return nil
	}
	return p.sign(ctx, keys, header, m)
}

func refuse(text string) error {
	return &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "header", Text: text}
}

// authorDomain is that of the first mailbox of the From field, as A-labels; empty if it has none.
func authorDomain(header message.Header) string {
	all, err := header.Mailboxes("From")
	if err != nil || len(all) == 0 {
		return ""
	}
	return all[0].ASCIIDomain()
}

// keysFor are the keys of the domain, or of the nearest one above it that has some, and those that
// sign always.
func (p *DKIM) keysFor(domain string) (keys []*signer) {
	all := *p.signers.Load()
	for ; domain != "" && len(keys) == 0; _, domain, _ = strings.Cut(domain, ".") {
		for _, s := range all {
			if s.key.domain == domain && !s.key.Always {
				keys = append(keys, s)
			}
		}
	}
	for _, s := range all {
		if s.key.Always {
			keys = append(keys, s)
		}
	}
	return keys
}

// sign reads the message once for all keys. The first key's signature comes out on top.
func (p *DKIM) sign(ctx context.Context, keys []*signer, submitted message.Header, m *caddymsa.Message) error {
	prepended, err := message.ReadHeader(bytes.NewReader(m.Prepended()))
	if err != nil {
		return err
	}
	names, fields := p.choose(slices.Concat(prepended, submitted))
	if len(fields) > maxSigned {
		return refuse(fmt.Sprintf("Header has more than %d fields to be signed", maxSigned))
	}
	body, err := p.hashBody(ctx, submitted, m)
	if err != nil {
		return err
	}
	signed := sha256.New()
	for _, f := range fields {
		p.canonical.field(signed, f.Raw)
	}
	for _, k := range slices.Backward(keys) {
		field, err := p.signature(k, names, body, signed)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		m.Prepend(field)
	}
	return nil
}

// choose returns what h= says, and the fields for it: each as often as it is there, from the last one
// up (RFC 6376 section 5.4.2), and its name once more if nobody is to add another.
func (p *DKIM) choose(header message.Header) (names []string, fields []message.Field) {
	byName := make(map[string][]message.Field, len(p.fields))
	for _, name := range p.fields {
		byName[name] = nil
	}
	for _, f := range header {
		name := strings.ToLower(f.Name)
		if list, ok := byName[name]; ok {
			byName[name] = append(list, f)
		}
	}
	for _, name := range p.fields {
		for _, f := range slices.Backward(byName[name]) {
			names, fields = append(names, name), append(fields, f)
		}
		delete(byName, name) // it may be configured twice
	}
	names = append(names, p.oversign...)
	if !slices.Contains(names, "from") { // RFC 6376 section 5.4: that there is none is signed
		names = append(names, "from")
	}
	return names, fields
}

// hashBody hashes the body in its canonical form.
func (p *DKIM) hashBody(ctx context.Context, header message.Header, m *caddymsa.Message) ([]byte, error) {
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	skip := int64(len("\r\n"))
	for _, f := range header {
		skip += int64(len(f.Raw))
	}
	in := message.UntilDone(ctx, r)
	if _, err := io.CopyN(io.Discard, in, skip); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	sum := sha256.New()
	body := p.canonical.bodyWriter(sum)
	if _, err := io.Copy(body, in); err != nil {
		return nil, err
	}
	body.close()
	return sum.Sum(nil), nil
}

// signature makes a DKIM-Signature field (RFC 6376 section 3.5). signed has had all fields that are
// signed but this one, which ends in an empty b= then.
func (p *DKIM) signature(k *signer, names []string, body []byte, signed hash.Hash) (string, error) {
	f := &folder{}
	f.tag("v", "1")
	f.tag("a", k.algorithm())
	f.tag("c", p.canonical.String())
	f.tag("d", k.key.domain)
	f.tag("s", k.key.Selector)
	f.tag("t", strconv.FormatInt(p.now().Unix(), 10))
	if p.Expire > 0 {
		f.tag("x", strconv.FormatInt(p.now().Add(time.Duration(p.Expire)).Unix(), 10))
	}
	f.list("h", names)
	f.tag("bh", base64.StdEncoding.EncodeToString(body))
	field := f.String() + "\r\n b="

	whole, err := clone(signed)
	if err != nil {
		return "", err
	}
	var own bytes.Buffer
	p.canonical.field(&own, []byte(field))
	whole.Write(bytes.TrimSuffix(own.Bytes(), []byte("\r\n")))
	var options crypto.SignerOpts = crypto.SHA256
	if _, ok := k.Public().(ed25519.PublicKey); ok {
		options = crypto.Hash(0) // RFC 8463 section 3: the hash is what is signed
	}
	sig, err := k.Sign(rand.Reader, whole.Sum(nil), options)
	if err != nil {
		return "", err
	}
	return field + wrapped(base64.StdEncoding.EncodeToString(sig)) + "\r\n", nil
}

// clone copies a hash with what it has had.
func clone(h hash.Hash) (hash.Hash, error) {
	c, ok := h.(hash.Cloner)
	if !ok {
		return nil, errors.New("SHA-256 cannot be cloned")
	}
	return c.Clone()
}
