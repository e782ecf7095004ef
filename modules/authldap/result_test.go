package authldap

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// What is not plainly about the user is never a refusal.
func TestJudge(t *testing.T) {
	plain := map[uint16]verdict{
		ldap.LDAPResultInvalidCredentials: refused, ldap.LDAPResultNoSuchObject: refused,
		ldap.LDAPResultUnwillingToPerform: doubtful, ldap.LDAPResultConstraintViolation: doubtful, ldap.LDAPResultInappropriateAuthentication: doubtful,
		ldap.LDAPResultInsufficientAccessRights: doubtful, ldap.LDAPResultInvalidDNSyntax: doubtful,
	}
	for code := range uint16(256) {
		if code == ldap.LDAPResultSuccess {
			continue
		}
		if got := judge(ldap.NewError(code, errors.New("x"))); got != plain[code] {
			t.Errorf("%d: %d, want %d", code, got, plain[code])
		}
	}
	if judge(nil) != accepted || judge(errors.New("connection reset")) != cannotTell {
		t.Error("no result code")
	}
	for data, want := range map[string]verdict{"52e": refused, "533": refused, "775": refused, "51f": cannotTell} {
		text := "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data " + data + ", v4563\x00"
		if got := judge(ldap.NewError(ldap.LDAPResultInvalidCredentials, errors.New(text))); got != want {
			t.Errorf("Active Directory's %s: %d", data, got)
		}
	}
}

func TestBroken(t *testing.T) {
	for err, want := range map[error]bool{
		nil:                               false,
		errors.New("reset"):               true,
		caddymsa.ErrCredentials:           false,
		refusal{errors.New("x")}:          false,
		ldap.NewError(49, errors.New("")): false,
		ldap.NewError(53, errors.New("")): false,
		ldap.NewError(51, errors.New("")): true,
		fmt.Errorf("x: %w", ldap.NewError(52, errors.New(""))): true,
		ldap.NewError(ldap.ErrorNetwork, errors.New("")):       true,
		startTLSFailed{ldap.NewError(2, errors.New(""))}:       true,
	} {
		if broken(err) != want {
			t.Errorf("%v: %t", err, !want)
		}
	}
}
