package authldap

import (
	"errors"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// verdict is what a server's answer to a bind as a user means.
type verdict int

const (
	cannotTell verdict = iota
	accepted
	refused
	// doubtful answers are given for one user by some servers, and for everybody by others or
	// by another configuration: whether the server refuses a name that nobody has in the usual way
	// decides.
	doubtful
)

// judge reads the result of a bind (RFC 4511 appendix A). A wrong "refused" makes clients throw
// their passwords away, so all that is not plainly about the user means "cannot tell".
func judge(err error) verdict {
	var result *ldap.Error
	if err == nil {
		return accepted
	}
	if !errors.As(err, &result) {
		return cannotTell
	}
	switch result.ResultCode {
	case ldap.LDAPResultInvalidCredentials:
		// A domain controller that can reach no other says so with the same code:
		// ERROR_NO_LOGON_SERVERS.
		if strings.Contains(result.Error(), "AcceptSecurityContext error, data 51f") {
			return cannotTell
		}
		return refused
	case ldap.LDAPResultNoSuchObject:
		return refused
	case ldap.LDAPResultUnwillingToPerform, // 389 DS, eDirectory: inactive, locked; OpenLDAP: no binds at all
		ldap.LDAPResultConstraintViolation,         // 389 DS: too many failures
		ldap.LDAPResultInappropriateAuthentication, // no password is stored; or no simple binds
		ldap.LDAPResultInsufficientAccessRights,    // the password may not be used for that
		ldap.LDAPResultInvalidDNSyntax:             // of the name, or of the operator's template
		return doubtful
	}
	return cannotTell
}

// broken tells whether an error is the connection's or the server's own, so that another server
// is asked.
func broken(err error) bool {
	if err == nil || errors.Is(err, caddymsa.ErrCredentials) {
		return false
	}
	var result *ldap.Error
	if !errors.As(err, &result) {
		return true // go-ldap has no type for what happens to a connection
	}
	switch result.ResultCode {
	case ldap.LDAPResultBusy, ldap.LDAPResultUnavailable:
		return true
	}
	return result.ResultCode >= ldap.ErrorNetwork // from there on they are go-ldap's own
}

// mistaken tells whether only the operator can help: the settings do not fit the directory.
func mistaken(err error) bool {
	for _, code := range []uint16{
		ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInvalidDNSyntax,
		ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultInsufficientAccessRights,
		ldap.LDAPResultReferral, ldap.LDAPResultConfidentialityRequired, ldap.LDAPResultStrongAuthRequired, ldap.LDAPResultAuthMethodNotSupported,
	} {
		if ldap.IsErrorWithCode(err, code) {
			return true
		}
	}
	return false
}
