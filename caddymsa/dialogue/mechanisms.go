package dialogue

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// authenticates tells whether there is anything to prove.
func (o *Client) authenticates() bool { return o.User != "" || o.Token != "" || o.Certificate }

// canProve tells whether there is what a mechanism needs.
func (o *Client) canProve(mechanism string) bool {
	switch mechanism {
	case sasl.External:
		return o.Certificate
	case sasl.OAuthBearer:
		return o.Token != ""
	case sasl.XOAuth2:
		return o.Token != "" && o.User != ""
	}
	return o.User != "" && o.Password != ""
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
			return sasl.NewSCRAMPlusClient(o.User, o.Password, binding)
		},
		sasl.SCRAMSHA256: func() (gosasl.Client, error) { return sasl.NewSCRAMClient(o.User, o.Password) },
		sasl.DigestMD5: func() (gosasl.Client, error) {
			return sasl.NewDigestMD5Client(o.User, o.Password, o.Realm, o.Host), nil
		},
		sasl.OAuthBearer: func() (gosasl.Client, error) { return sasl.NewOAuthBearerClient(o.User, o.Token), nil },
		sasl.XOAuth2:     func() (gosasl.Client, error) { return sasl.NewXOAuth2Client(o.User, o.Token), nil },
		sasl.External:    func() (gosasl.Client, error) { return gosasl.NewExternalClient(""), nil },
		sasl.Plain:       func() (gosasl.Client, error) { return gosasl.NewPlainClient("", o.User, o.Password), nil },
		sasl.Login:       func() (gosasl.Client, error) { return sasl.NewLoginClient(o.User, o.Password), nil },
	}
	if o.Mechanism != "" {
		if maker := makers[strings.ToUpper(o.Mechanism)]; maker != nil {
			return maker()
		}
		return nil, fmt.Errorf("mechanism %s is not known here", o.Mechanism)
	}
	for _, name := range sasl.Names() {
		if maker := makers[name]; maker != nil && o.canProve(name) && slices.Contains(d.auth, name) {
			return maker()
		}
	}
	return nil, fmt.Errorf("the server offers no mechanism that is known here: %s", strings.Join(d.auth, " "))
}
