package policydkim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// CheckMessage signs.
func (p *DKIM) CheckMessage(ctx context.Context, _ *caddymsa.Submission, m *caddymsa.Message) error {
	header, err := message.HeaderOf(m)
	if errors.Is(err, message.ErrHeaderTooLong) {
		return &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "header", Text: "Header is too long"}
	}
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

// sign reads the message once for all keys.
func (p *DKIM) sign(ctx context.Context, keys []*signer, header message.Header, m *caddymsa.Message) error {
	prepended := m.Prepended()
	all, err := message.ReadHeader(strings.NewReader(string(prepended)))
	if err != nil {
		return err
	}
	all = append(all, header...)
	options := dkim.SignOptions{
		HeaderCanonicalization: p.canonical[0], BodyCanonicalization: p.canonical[1], HeaderKeys: p.headerKeys(all),
	}
	if p.Expire > 0 {
		options.Expiration = p.now().Add(time.Duration(p.Expire))
	}
	var signers []*dkim.Signer
	var into []io.Writer
	defer func() { // what was begun ends
		for _, s := range signers {
			_ = s.Close()
		}
	}()
	for _, k := range keys {
		o := options
		o.Domain, o.Selector, o.Signer = k.key.domain, k.key.Selector, k.signer
		s, err := dkim.NewSigner(&o)
		if err != nil {
			return err
		}
		signers, into = append(signers, s), append(into, s)
	}
	if err := feed(ctx, io.MultiWriter(into...), prepended, header, m); err != nil {
		return err
	}
	for len(signers) > 0 {
		s := signers[len(signers)-1]
		signers = signers[:len(signers)-1]
		if err := s.Close(); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		m.Prepend(s.Signature())
	}
	return nil
}

// headerKeys are the fields to sign, each as often as it is there, and once more if nobody is to
// add another.
func (p *DKIM) headerKeys(header message.Header) (keys []string) {
	for _, name := range p.fields {
		for range header.Count(name) {
			keys = append(keys, name)
		}
	}
	keys = append(keys, p.oversign...)
	if !slices.Contains(keys, "from") { // the library wants it; it signs that there is none
		keys = append(keys, "from")
	}
	return keys
}

// feed writes what the message will be. One that ends within its header gets the empty line that
// every reader thinks there.
func feed(ctx context.Context, w io.Writer, prepended []byte, header message.Header, m *caddymsa.Message) error {
	if len(prepended) > 0 { // a pipe waits for the reader of nothing too
		if _, err := w.Write(prepended); err != nil {
			return err
		}
	}
	r, err := m.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(w, contextReader{ctx, r}); err != nil {
		return err
	}
	var size int64
	for _, f := range header {
		size += int64(len(f.Raw))
	}
	if size < m.Size {
		return nil
	}
	end := "\r\n"
	if n := len(header); n > 0 && !strings.HasSuffix(string(header[n-1].Raw), "\n") {
		end = "\r\n\r\n"
	}
	_, err = io.WriteString(w, end)
	return err
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
