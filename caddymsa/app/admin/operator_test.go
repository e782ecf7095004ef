package admin

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// A certificate says who the operator is, whatever the client says besides; what only the client says is marked.
func TestOperatorOf(t *testing.T) {
	certified := func(name pkix.Name) *tls.ConnectionState {
		return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: name, SerialNumber: big.NewInt(255)}}}
	}
	for _, tt := range []struct {
		tls       *tls.ConnectionState
		say, want string
	}{
		{nil, "", "admin"},
		{nil, "root", "root (as the client says)"},
		{&tls.ConnectionState{}, "root", "root (as the client says)"},
		{certified(pkix.Name{CommonName: "ops"}), "root", "CN=ops"},
		{certified(pkix.Name{CommonName: "a\x1b[31m"}), "", "CN=a [31m"},
		{certified(pkix.Name{}), "", "certificate ff"},
	} {
		r := &http.Request{TLS: tt.tls, Header: http.Header{}}
		if tt.say != "" {
			r.Header.Set(adminapi.OperatorHeader, tt.say)
		}
		if got := operatorOf(r); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	if got := OperatorOf(WithOperator(t.Context(), "alice")); got != "alice" {
		t.Error(got)
	}
}
