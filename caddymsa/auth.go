package caddymsa

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

// A backend is a module in the namespace msa.auth that implements one or more of
// the interfaces below: each says what it can prove, and the server offers the
// mechanisms that follow from it. Methods are called concurrently, and return
// soon after ctx ends.
//
// Errors: ErrCredentials means that the backend does not know the user, that the
// user is disabled or may not come from there, or that the proof is wrong, and one of the errors that
// wrap it says which; the next backend is asked then. A backend takes the same time for all of these
// . Any other error means that it cannot tell: the client gets 454 4.7.0
// and no other backend is asked.

// PasswordVerifier serves PLAIN and LOGIN.
type PasswordVerifier interface {
	// VerifyPassword checks a password as the client sent it, which need not be UTF-8. What SASLprep
	// makes of it will do as well, and all forms are one guess: see sasl.PasswordForms.
	VerifyPassword(ctx context.Context, peer Peer, user, password string) (Identity, error)
}

// DigestStore serves DIGEST-MD5.
type DigestStore interface {
	// DigestCredentials returns what the client's response for user in realm may be compared with, in
	// order. For an unknown user there is none, or an ErrCredentials that says why.
	DigestCredentials(ctx context.Context, peer Peer, user, realm string) ([]DigestCredential, error)
}

// DigestCredential is one candidate: HA1, or a clear password to make it from.
type DigestCredential struct {
	HA1      *[16]byte // MD5(user:realm:password)
	Password string    // used when HA1 is nil
	Identity Identity
	// Refused is why the client is refused if its response fits, such as an application password that has expired. Nil: it is not.
	Refused error
}

// SCRAMStore serves SCRAM-SHA-256 and SCRAM-SHA-256-PLUS.
type SCRAMStore interface {
	// SCRAMCredential returns the stored key of a user. With ErrCredentials, the
	// credential is a decoy: the same for the same name, of the parameters that
	// real users have.
	SCRAMCredential(ctx context.Context, peer Peer, user string) (sasl.SCRAMCredential, Identity, error)
}

// TokenVerifier serves OAUTHBEARER and XOAUTH2.
type TokenVerifier interface {
	// VerifyToken checks a bearer token, which is at most 12 KiB. user is the one that the
	// client asks to be, empty if it does not say; a token of another user is refused. An
	// ErrCredentials may be wrapped in a *sasl.TokenRefusal, of which the client is told.
	VerifyToken(ctx context.Context, peer Peer, user, token string) (Identity, error)
}

// CertificateMapper serves EXTERNAL, to clients whose certificate was verified in the handshake.
type CertificateMapper interface {
	// MapCertificate says whose certificate it is: state.VerifiedChains is not empty.
	MapCertificate(ctx context.Context, peer Peer, state *tls.ConnectionState) (Identity, error)
}

// MechanismProxy has whole exchanges decided by another server. It must be the only
// backend for each mechanism that it proxies.
type MechanismProxy interface {
	// ProxiedMechanisms are known from the configuration alone.
	ProxiedMechanisms() []string
	// ProxyExchange begins an exchange. It may go on after the backend's Cleanup, if the
	// configuration that comes next has the same backend.
	ProxyExchange(peer Peer, mechanism string) ProxiedExchange
}

// ProxiedExchange is an exchange that another server decides.
type ProxiedExchange interface {
	// Next is as go-sasl's Server has it, within ctx: response is nil if the client sent no
	// initial one. Errors are a backend's.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error)
	// Identity is who the client is, once Next has said done.
	Identity() Identity
	// Close ends the exchange, whatever came of it.
	Close() error
}

// Selective is an optional interface of a backend whose configuration decides
// which of the interfaces that it implements it can serve. Without it, all.
type Selective interface {
	// Serves is asked after Provision.
	Serves(Capability) bool
}

// As returns a backend as T, which the capability stands for, if it serves that.
func As[T any](backend any, c Capability) (as T, ok bool) {
	if s, selective := backend.(Selective); selective && !s.Serves(c) {
		return as, false
	}
	as, ok = backend.(T)
	return as, ok
}

// Capability stands for one of the interfaces of a backend.
type Capability string

// Capabilities, as errors name them.
const (
	CapPassword    Capability = "password"    // PasswordVerifier
	CapDigest      Capability = "digest"      // DigestStore
	CapSCRAM       Capability = "scram"       // SCRAMStore
	CapToken       Capability = "token"       // TokenVerifier
	CapCertificate Capability = "certificate" // CertificateMapper
	CapProxy       Capability = "proxy"       // MechanismProxy
	CapLookup      Capability = "lookup"      // Lookuper
)

// Lookuper is an optional interface of a backend: it answers whether the user of
// an open session still stands (docs/dev/architecture.md, decision 3).
type Lookuper interface {
	// Lookup returns the identity as of now, or ErrCredentials when the user is
	// gone or disabled. Another Fingerprint than before ends the session.
	Lookup(ctx context.Context, peer Peer, user string) (Identity, error)
}

// Surveyor is an optional interface of a backend that knows all of its users. Mechanisms that not
// every user can use are offered only if the operator lists them: clients that pick one would be
// refused forever, though the user has a password. Of a backend that checks passwords and is not a
// Surveyor nothing else is taken for granted.
type Surveyor interface {
	// Survey counts the users who can log in at all, and those of them who cannot by CapSCRAM, or by
	// CapDigest in any of the realms. It is asked at every EHLO, and answers from memory.
	Survey(c Capability, realms []string) (users, without int)
}

// Sampler is an optional interface of a backend that cannot know all of its users, but some.
type Sampler interface {
	// Sample counts as a Surveyor does, among at most most users. It may take a while: operators ask it, not clients.
	Sample(ctx context.Context, c Capability, realms []string, most int) (users, without int, err error)
}

// Revisioner is an optional interface of a backend whose data changes without a
// change of configuration: open sessions are looked up again when the number does.
type Revisioner interface {
	Revision() uint64
}

// Reloader is an optional interface of a backend that holds data of its own.
type Reloader interface {
	// Reload reads the data again. On an error the old data stay in force.
	Reload(ctx context.Context) error
}

// ErrCredentials refuses a client: unknown, disabled or wrong. The client gets
// 535 5.7.8, whichever it was.
var ErrCredentials = sasl.ErrCredentials

// Why a client is refused, for the operator: the log and `caddy msa auth test` tell these apart. The client
// hears and waits the same for all of them.
var (
	ErrUnknownUser   = fmt.Errorf("%w: unknown user", ErrCredentials)
	ErrWrongPassword = fmt.Errorf("%w: wrong password", ErrCredentials)
	ErrDisabled      = fmt.Errorf("%w: the user is disabled", ErrCredentials)
	ErrNotFromThere  = fmt.Errorf("%w: the user may not come from this address", ErrCredentials)
	// ErrExpired is of a right application password whose time is over.
	ErrExpired = fmt.Errorf("%w: the application password has expired", ErrCredentials)
	// ErrNoCredential is of a user who has stored nothing that the mechanism needs.
	ErrNoCredential = fmt.Errorf("%w: nothing is stored of the user that this mechanism needs", ErrCredentials)
)

// Reason is a word for why an ErrCredentials refuses: "unknown", "wrong", "disabled", "address", "expired" or
// "no_credential"; or empty, if the backend did not say.
func Reason(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return ""
}

// reasons go from those that tell most to those that tell least.
var reasons = []struct {
	err  error
	word string
}{
	{ErrDisabled, "disabled"}, {ErrNotFromThere, "address"}, {ErrExpired, "expired"}, {ErrWrongPassword, "wrong"}, {ErrNoCredential, "no_credential"}, {ErrUnknownUser, "unknown"},
}

// MoreTelling returns the one of two refusals that tells an operator more: what one backend says of a user counts
// more than that another does not know the name.
func MoreTelling(a, b error) error {
	for _, r := range reasons {
		switch {
		case errors.Is(a, r.err):
			return a
		case errors.Is(b, r.err):
			return b
		}
	}
	return b
}

// ErrBusy says that a backend cannot tell because too much is asked of it at the moment: a
// flood is logged as a warning, not as an error of ours. The client gets 454 4.7.0.
var ErrBusy = errors.New("too busy")

// Peer is what a backend may know of the client.
type Peer struct {
	IP      netip.Addr // invalid on a unix socket
	Server  string     // hostname of the server it came to
	Session string     // id of the session, for the log
}

// Identity is who a client has proven to be.
type Identity struct {
	// User is the name it is known by, in the log and as {msa.user}.
	User string
	// AppPassword is the label of the application password that was used. Empty: it was another proof. A backend that says so
	// knows the name User+AppPassword in Lookup: the user as long as that password stands.
	AppPassword string
	// Addresses are those that it may send as, beside User itself where that is
	// an address.
	Addresses []mailaddr.Pattern
	// Attributes are a backend's own facts for matchers and policies.
	Attributes map[string]string
	// Fingerprint changes when the stored credential does. Empty: not known.
	Fingerprint string
	// Case is how the backend compares names: with Exact, Bob@example.org is not bob@example.org's
	// to send as.
	Case names.Case
}

// LoginName is the name to look the identity up by.
func (i Identity) LoginName() string {
	if i.AppPassword != "" {
		return i.User + "+" + i.AppPassword
	}
	return i.User
}

// MaySendAs tells whether a is one of the identity's own addresses.
func (i Identity) MaySendAs(a mailaddr.Address) bool {
	for _, p := range i.Addresses {
		if p.MatchCase(a, i.Case) {
			return true
		}
	}
	own, err := mailaddr.MailboxPattern(i.User)
	return err == nil && own.MatchCase(a, i.Case)
}
