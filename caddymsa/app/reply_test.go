package app

import (
	"errors"
	"fmt"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// Nothing of our insides leaves in a reply, and every reply has the right class.
func TestToReply(t *testing.T) {
	theirs := &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Too large"}
	for _, tt := range []struct {
		err  error
		want *smtp.SMTPError
	}{
		{theirs, theirs},
		{fmt.Errorf("policy x: %w", theirs), theirs},
		{errors.New("open /var/spool: permission denied"), errInternal},
		{fmt.Errorf("no: %w", sasl.ErrCredentials), errCredentials},
		{fmt.Errorf("no: %w", sasl.ErrMalformed), errAuthSyntax},
		{fmt.Errorf("no: %w", sasl.ErrInitialResponse), errInitialResponse},
		{fmt.Errorf("spool: %w", queue.ErrFull), errSpoolFull},
		{cannotTell{errors.New("dial tcp 10.0.0.5:5432")}, errCannotTell},
		{cannotTell{fmt.Errorf("backend: %w", theirs)}, errCannotTell},
		{errLoginStale, errLoginStale},
	} {
		if got := toReply(tt.err); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
		if got := toReply(tt.err); got.Code/100 != got.EnhancedCode[0] {
			t.Errorf("%v: the classes of %d and %v differ", tt.err, got.Code, got.EnhancedCode)
		}
	}
}
