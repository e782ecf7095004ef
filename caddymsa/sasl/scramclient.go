package sasl

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// SCRAMClient is the client side of one SCRAM-SHA-256 or SCRAM-SHA-256-PLUS
// exchange.
type SCRAMClient struct {
	mechanism string
	conv      *scram.ClientConversation
}

// NewSCRAMClient returns a client for SCRAM-SHA-256. It fails if SASLprep does
// not allow the user name or the password.
func NewSCRAMClient(user, password string) (*SCRAMClient, error) {
	client, err := newSCRAMClient(user, password)
	if err != nil {
		return nil, err
	}
	return &SCRAMClient{mechanism: SCRAMSHA256, conv: client.NewConversation()}, nil
}

// NewSCRAMPlusClient returns a client for SCRAM-SHA-256-PLUS, bound to the TLS
// connection whose TLSExporter data is binding.
func NewSCRAMPlusClient(user, password string, binding []byte) (*SCRAMClient, error) {
	if len(binding) == 0 {
		return nil, errNoBinding
	}
	client, err := newSCRAMClient(user, password)
	if err != nil {
		return nil, err
	}
	conv := client.NewConversationWithChannelBinding(scram.ChannelBinding{
		Type: scram.ChannelBindingTLSExporter, Data: binding,
	})
	return &SCRAMClient{mechanism: SCRAMSHA256Plus, conv: conv}, nil
}

func newSCRAMClient(user, password string) (*scram.Client, error) {
	u, err := PrepareStored(user)
	if err != nil {
		return nil, fmt.Errorf("user name: %w", err)
	}
	p, err := PrepareStored(password)
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	return scram.SHA256.NewClientUnprepped(u, p, "")
}

// Start begins the exchange with client-first-message.
func (c *SCRAMClient) Start() (mech string, ir []byte, err error) {
	first, err := c.conv.Step("")
	return c.mechanism, []byte(first), err
}

// Next answers server-first-message, then checks server-final-message.
func (c *SCRAMClient) Next(challenge []byte) ([]byte, error) {
	if c.conv.Done() {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	if mandatoryExtension(string(challenge)) {
		return nil, errors.New("SCRAM: the server asks for an extension that is not known (RFC 5802 section 5.1)")
	}
	if n, ok := iterations(string(challenge)); ok && n > maxIterations {
		return nil, fmt.Errorf("SCRAM: the server asks for %d iterations, which would take too long; %d at most", n, maxIterations)
	}
	response, err := c.conv.Step(string(challenge))
	if err != nil {
		return nil, err
	}
	return []byte(response), nil
}

// maxIterations is the most that a server may ask for, some seconds of work: whoever it is could name any number.
const maxIterations = 10_000_000

// iterations is the count in server-first-message.
func iterations(challenge string) (n int, ok bool) {
	for attribute := range strings.SplitSeq(challenge, ",") {
		if text, found := strings.CutPrefix(attribute, "i="); found {
			n, err := strconv.Atoi(text)
			return n, err == nil
		}
	}
	return 0, false
}

// ServerProved reports whether the server has shown that it knows the
// password's keys. Ask after success.
func (c *SCRAMClient) ServerProved() bool { return c.conv.Valid() }
