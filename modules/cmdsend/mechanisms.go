package cmdsend

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// authenticates tells whether there is anything to prove.
func (o *options) authenticates() bool { return o.user != "" || o.token != "" || o.cert != "" }

// canProve tells whether the flags have what a mechanism needs.
func (o *options) canProve(mechanism string) bool {
	switch mechanism {
	case sasl.External:
		return o.cert != ""
	case sasl.OAuthBearer:
		return o.token != ""
	case sasl.XOAuth2:
		return o.token != "" && o.user != ""
	}
	return o.user != "" && o.password != ""
}

// client makes the client side of the mechanism that was asked for, or of the best
// that both sides know.
func (d *dialogue) client() (gosasl.Client, error) {
	o := d.o
	makers := map[string]func() (gosasl.Client, error){
		sasl.SCRAMSHA256Plus: func() (gosasl.Client, error) {
			state := d.nc.(*tls.Conn).ConnectionState()
			binding, err := sasl.TLSExporter(&state)
			if err != nil {
				return nil, err
			}
			return sasl.NewSCRAMPlusClient(o.user, o.password, binding)
		},
		sasl.SCRAMSHA256: func() (gosasl.Client, error) { return sasl.NewSCRAMClient(o.user, o.password) },
		sasl.DigestMD5: func() (gosasl.Client, error) {
			return sasl.NewDigestMD5Client(o.user, o.password, o.realm, o.serverName), nil
		},
		sasl.OAuthBearer: func() (gosasl.Client, error) { return sasl.NewOAuthBearerClient(o.user, o.token), nil },
		sasl.XOAuth2:     func() (gosasl.Client, error) { return sasl.NewXOAuth2Client(o.user, o.token), nil },
		sasl.External:    func() (gosasl.Client, error) { return gosasl.NewExternalClient(""), nil },
		sasl.Plain:       func() (gosasl.Client, error) { return gosasl.NewPlainClient("", o.user, o.password), nil },
		sasl.Login:       func() (gosasl.Client, error) { return gosasl.NewLoginClient(o.user, o.password), nil },
	}
	if o.mechanism != "" {
		if maker := makers[strings.ToUpper(o.mechanism)]; maker != nil {
			return maker()
		}
		return nil, fmt.Errorf("mechanism %s is not known here", o.mechanism)
	}
	for _, name := range sasl.Names() {
		if maker := makers[name]; maker != nil && o.canProve(name) && slices.Contains(d.auth, name) {
			return maker()
		}
	}
	return nil, fmt.Errorf("the server offers no mechanism that is known here: %s", strings.Join(d.auth, " "))
}
