package sasl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// SCRAMConfig is what a SCRAM-SHA-256 server needs to know.
type SCRAMConfig struct {
	// Lookup returns the keys of user, a name that has gone through SASLprep.
	// For an unknown or disabled one it returns an error with ErrCredentials in
	// its chain: the exchange goes on with a decoy and fails at the proof, as it
	// does with a wrong password. The decoy is the credential that came with the
	// error (see DecoySCRAM); if that is empty, one of 4096 iterations, salted
	// from a secret of this process. Any other error ends the exchange. Required.
	Lookup func(user string) (SCRAMCredential, error)

	// Finish is called after the client proved that it knows the password of
	// user, before the server proves the same; an error ends the exchange. Nil:
	// there is nothing left to ask.
	Finish func(user string) error

	// Plus makes it SCRAM-SHA-256-PLUS: the client must bind the exchange to
	// the TLS connection.
	Plus bool

	// Binding is the tls-exporter data of the connection, from TLSExporter.
	// Required with Plus, unused without.
	Binding []byte

	// PlusAnnounced says that the client was told of SCRAM-SHA-256-PLUS. One
	// that supports it and believes it was not has been deceived, and is
	// refused.
	PlusAnnounced bool
}

// NewSCRAM returns the server side of one SCRAM-SHA-256 or SCRAM-SHA-256-PLUS
// exchange (RFC 5802, RFC 7677). It never sends an e= value: each refusal is
// an error.
func NewSCRAM(config SCRAMConfig) sasl.Server {
	return &scramServer{config: config}
}

type scramServer struct {
	config SCRAMConfig
	step   scramStep
	convs  []*scram.ServerConversation // the same but for the keys; one, or one more for Also

	user    string // prepared
	keys    []scram.StoredCredentials
	refusal error // of Lookup, which did not know user: the keys are a decoy's

	nonce scram.NonceGeneratorFcn // nil but in tests
}

type scramStep int

const (
	scramStart scramStep = iota
	scramFirst
	scramFinal
	scramEnd // server-final is sent, an empty response is due
	scramOver
)

// Bounds for what a client sends, far above anything that clients do.
const (
	maxSCRAMMessage = 4096
	maxSCRAMFields  = 16
)

// errNoBinding is a fault of the caller: PLUS must not be offered without TLS.
var errNoBinding = errors.New(SCRAMSHA256Plus + " without channel binding data")

func (s *scramServer) Next(response []byte) (challenge []byte, done bool, err error) {
	step := s.step
	s.step = scramOver // unless all goes well
	switch step {
	case scramStart, scramFirst:
		if response == nil && step == scramStart {
			s.step = scramFirst
			return []byte{}, false, nil
		}
		challenge, err = s.first(response)
		if err != nil {
			return nil, false, err
		}
		s.step = scramFinal
		return challenge, false, nil

	case scramFinal:
		challenge, err = s.final(response)
		if err != nil {
			return nil, false, err
		}
		s.step = scramEnd
		return challenge, false, nil

	case scramEnd:
		if len(response) > 0 {
			return nil, false, malformed("SCRAM: want an empty response to server-final")
		}
		return nil, true, nil
	}
	return nil, false, errOver
}

// first answers client-first-message with server-first-message.
func (s *scramServer) first(response []byte) ([]byte, error) {
	if err := checkSCRAMSyntax(response); err != nil {
		return nil, err
	}
	if err := s.checkBindingFlag(response); err != nil {
		return nil, err
	}
	nonce := s.nonce
	if nonce == nil {
		once, err := newNonce(nil)
		if err != nil {
			return nil, err
		}
		nonce = func() string { return once }
	}
	challenge, err := s.begin(response, nonce, func(user string) (c scram.StoredCredentials, err error) {
		if s.keys, err = s.lookup(user); err != nil {
			return c, err
		}
		return s.keys[0], nil
	})
	if err != nil {
		return nil, err
	}
	for _, c := range s.keys[1:] {
		if _, err := s.begin(response, nonce, func(string) (scram.StoredCredentials, error) { return c, nil }); err != nil {
			return nil, err
		}
	}
	if err := authorize(s.convs[0].AuthzID(), s.user); err != nil {
		return nil, err
	}
	return []byte(challenge), nil
}

// begin adds a conversation. The library's messages quote what the client sent, so they stay here.
func (s *scramServer) begin(response []byte, nonce scram.NonceGeneratorFcn, keys scram.CredentialLookup) (challenge string, err error) {
	var lookupErr error
	server, err := scram.SHA256.NewServer(func(user string) (c scram.StoredCredentials, err error) {
		c, lookupErr = keys(user)
		return c, lookupErr
	})
	if err != nil {
		return "", err
	}
	server = server.WithNonceGenerator(nonce)
	conv := server.NewConversation()
	if s.config.Plus {
		conv = server.NewConversationWithChannelBindingRequired(scram.ChannelBinding{
			Type: scram.ChannelBindingTLSExporter,
			Data: s.config.Binding,
		})
	}
	s.convs = append(s.convs, conv)
	challenge, err = conv.Step(string(response))
	switch {
	case lookupErr != nil:
		return "", lookupErr
	case err != nil:
		return "", malformed("SCRAM: client-first-message")
	}
	return challenge, nil
}

// checkBindingFlag judges the gs2-cbind-flag (RFC 5802 section 6).
func (s *scramServer) checkBindingFlag(response []byte) error {
	flag, _, _ := bytes.Cut(response, []byte{','})
	switch f := string(flag); {
	case f == "n" || f == "y":
		if s.config.Plus {
			return refused(SCRAMSHA256Plus + " without channel binding")
		}
		if f == "y" && s.config.PlusAnnounced {
			return refused("the client was not told of " + SCRAMSHA256Plus + ": somebody in between?")
		}
	case strings.HasPrefix(f, "p="):
		if !s.config.Plus {
			return refused(SCRAMSHA256 + " with channel binding")
		}
		if f != "p="+string(scram.ChannelBindingTLSExporter) {
			return refused("channel binding is not tls-exporter")
		}
		if len(s.config.Binding) == 0 {
			return errNoBinding
		}
	default:
		return malformed("SCRAM: gs2-cbind-flag")
	}
	return nil
}

// lookup returns the keys of user as the library has them, or a decoy's.
func (s *scramServer) lookup(user string) ([]scram.StoredCredentials, error) {
	prepared, err := PrepareStored(user)
	if err != nil {
		return nil, refused("user name: " + err.Error())
	}
	s.user = prepared
	c, err := s.config.Lookup(prepared)
	if errors.Is(err, ErrCredentials) {
		s.refusal, err = err, nil
		if len(c.Salt) == 0 {
			c = DecoySCRAM(processSecret(), prepared, 0, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	var keys []scram.StoredCredentials
	for c := &c; c != nil; c = c.Also {
		if err := c.Validate(); err != nil {
			return nil, err
		}
		keys = append(keys, scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(c.Salt), Iters: c.Iterations},
			StoredKey:  c.StoredKey,
			ServerKey:  c.ServerKey,
		})
	}
	return keys, nil
}

// final answers client-final-message with server-final-message.
func (s *scramServer) final(response []byte) ([]byte, error) {
	if err := checkSCRAMSyntax(response); err != nil {
		return nil, err
	}
	challenge, err := s.prove(response)
	switch {
	case err != nil && !errors.Is(err, ErrCredentials):
		return nil, err
	case s.refusal != nil:
		return nil, s.refusal
	case err != nil:
		return nil, err
	}
	if s.config.Finish != nil {
		if err := s.config.Finish(s.user); err != nil {
			return nil, err
		}
	}
	return []byte(challenge), nil
}

// prove checks the client's proof with each pair of keys, all of them in any case.
func (s *scramServer) prove(response []byte) (challenge string, err error) {
	for _, conv := range s.convs {
		said, failed := conv.Step(string(response))
		switch {
		case failed == nil && conv.Valid() && challenge == "":
			challenge = said
		case failed != nil && said == "":
			err = malformed("SCRAM: client-final-message")
		case err == nil:
			err = refused(strings.TrimPrefix(said, "e="))
		}
	}
	if challenge != "" {
		return challenge, nil
	}
	return "", err
}

// mandatoryExtension tells whether a message of either side asks for something that we do not know: then
// authentication must fail (RFC 5802 section 5.1). No value has a comma in it.
func mandatoryExtension(message string) bool {
	return strings.HasPrefix(message, "m=") || strings.Contains(message, ",m=")
}

// checkSCRAMSyntax refuses what the library would let through.
func checkSCRAMSyntax(message []byte) error {
	switch {
	case len(message) > maxSCRAMMessage:
		return malformed(fmt.Sprintf("SCRAM: message over %d octets", maxSCRAMMessage))
	case bytes.Count(message, []byte{','}) >= maxSCRAMFields:
		return malformed("SCRAM: too many attributes")
	case !utf8.Valid(message) || hasControl(message):
		return malformed("SCRAM: message is not text")
	case bytes.Contains(message, []byte(",r=,")) || bytes.HasSuffix(message, []byte(",r=")):
		return malformed("SCRAM: empty nonce")
	case mandatoryExtension(string(message)):
		return refused("SCRAM: extensions-not-supported")
	}
	return nil
}
