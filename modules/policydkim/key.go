package policydkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
	"github.com/caddy-msa/caddy-msa/caddymsa/watch"
)

// Key is a private key of a domain's.
type Key struct {
	// Domain that signs: d=. Required.
	Domain string `json:"domain,omitempty"`
	// Selector names the key's record in DNS, <selector>._domainkey.<domain>: s=. Required.
	Selector string `json:"selector,omitempty"`
	// File holds the key: PEM, PKCS #8 or PKCS #1, RSA of at least 1024 bits or Ed25519. It is read
	// again when it changes. Placeholders are resolved once, when the config is loaded.
	File string `json:"file,omitempty"`
	// Key is the key itself, in the place of a file; a placeholder such as {env.DKIM_KEY}.
	Key conf.Secret `json:"key,omitempty"`
	// Always signs every message, whatever domain its From field names.
	Always bool `json:"always,omitempty"`

	file   string
	value  conf.Resolved
	domain string // as A-labels
}

// signer is a key that was read.
type signer struct {
	key *Key
	*privateKey
	record string // for DNS
}

// algorithm is the value of a= (RFC 6376 section 3.3, RFC 8463 section 3).
func (s *signer) algorithm() string {
	if _, ok := s.Public().(ed25519.PublicKey); ok {
		return "ed25519-sha256"
	}
	return "rsa-sha256"
}

func (k *Key) check(log *zap.Logger) (err error) {
	switch {
	case k == nil || k.Domain == "" || k.Selector == "":
		return errors.New("domain and selector are required")
	case (k.File == "") == (k.Key == ""):
		return errors.New("a file or a key is required, and not both")
	}
	if err := conf.ExpandAll(conf.Place("domain", &k.Domain), conf.Place("selector", &k.Selector)); err != nil {
		return err
	}
	if k.domain, err = mailaddr.ASCIIDomain(k.Domain); err != nil {
		return fmt.Errorf("domain %q: %w", k.Domain, err)
	}
	if err := mailaddr.ValidDomain(k.domain, false); err != nil {
		return fmt.Errorf("domain %q: %w", k.Domain, err)
	}
	if err := mailaddr.ValidDomain(k.Selector, false); err != nil {
		return fmt.Errorf("selector %q: %w", k.Selector, err)
	}
	if k.file, err = conf.Expand(k.File); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	if isPEM(k.file) { // which errors about a file would show
		return errors.New("file: this is the key itself and not the path of its file; the setting for it is key")
	}
	k.value, err = k.Key.Resolve("key", log)
	return err
}

// isPEM tells whether a text is what a file has, and not its path.
func isPEM(text string) bool { return strings.Contains(text, "-----BEGIN ") }

func (k *Key) load(log *zap.Logger) (*signer, error) {
	var private *privateKey
	var err error
	if k.File == "" {
		private, err = parseKey([]byte(k.value.Value()))
	} else {
		if info, err := os.Stat(k.file); err == nil && info.Mode().Perm()&0o007 != 0 {
			log.Warn("dkim: everybody on this machine can read the key; chmod 600", zap.String("file", k.file), zap.Stringer("mode", info.Mode().Perm()))
		}
		private, err = keyFiles.Read(k.file)
	}
	if err != nil {
		return nil, err
	}
	record, err := dnsRecord(private.Signer, k, log)
	return &signer{key: k, privateKey: private, record: record}, err
}

// keyFiles are the keys in memory.
var keyFiles = watch.Memo[privateKey]{Parse: func(pems [][]byte, paths []string) (*privateKey, error) {
	k, err := parseKey(pems[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", paths[0], err)
	}
	return k, nil
}}

// privateKey is RSA or Ed25519.
type privateKey struct{ crypto.Signer }

const howToMake = `make one with: openssl genpkey -algorithm ed25519 (or RSA -pkeyopt rsa_keygen_bits:2048)`

func parseKey(text []byte) (*privateKey, error) {
	text, err := textfile.PEM(text)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("there is no PEM block in it; " + howToMake)
	}
	if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
		return nil, errors.New("the key is encrypted; decrypt it with openssl pkey")
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block %q is not a private key; %s", block.Type, howToMake)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < 1024 {
			return nil, fmt.Errorf("an RSA key of %d bits proves nothing (RFC 8301); %s", k.N.BitLen(), howToMake)
		}
		return &privateKey{k}, nil
	case ed25519.PrivateKey:
		return &privateKey{k}, nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign; there are RSA and Ed25519", key)
}

// dnsRecord is what is to be published (RFC 6376 section 3.6.1, RFC 8463 section 4.2).
func dnsRecord(s crypto.Signer, k *Key, log *zap.Logger) (string, error) {
	switch public := s.Public().(type) {
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public), nil
	case *rsa.PublicKey:
		if public.N.BitLen() < 2048 {
			log.Warn("dkim: an RSA key should have 2048 bits or more (RFC 8301 section 3.2)", zap.String("domain", k.Domain), zap.String("selector", k.Selector), zap.Int("bits", public.N.BitLen()))
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return "", err
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
	}
	return "", fmt.Errorf("key of type %T", s.Public())
}
