package mailaddr

import "errors"

// The kinds of errors, for errors.Is. What the functions return wraps one of
// these and has a text that may be shown to a client: it repeats no input.
var (
	// ErrSyntax: not a mailbox (501 5.1.3 for a recipient, 5.1.7 for a sender).
	ErrSyntax = errors.New("bad address syntax")

	// ErrNotQualified: a well-formed address without a domain, or with one of
	// a single label such as "localhost" (RFC 6409 section 4.2: 554).
	ErrNotQualified = errors.New("address is not fully qualified")

	// ErrNeedsUTF8: the address is not ASCII and SMTPUTF8 was not asked for
	// (RFC 6531 section 3.5: 5.6.7). Errors of this kind are ErrSyntax too.
	ErrNeedsUTF8 = errors.New("non-ASCII address without SMTPUTF8")
)

// parseError is an error of one or more kinds. All of them are variables, so
// that refusing an address allocates nothing.
type parseError struct {
	text  string
	kinds []error
}

func (e *parseError) Error() string   { return e.text }
func (e *parseError) Unwrap() []error { return e.kinds }

func syntaxError(text string) error {
	return &parseError{text: text, kinds: []error{ErrSyntax}}
}

func notQualified(text string) error {
	return &parseError{text: text, kinds: []error{ErrNotQualified}}
}

var (
	errEmpty        = syntaxError("address is empty")
	errLocal        = syntaxError("bad local part")
	errLocalEmpty   = syntaxError("local part is empty")
	errLocalDot     = syntaxError("misplaced dot in the local part")
	errLocalLong    = syntaxError("local part is longer than 64 octets")
	errQuoted       = syntaxError("bad quoted local part")
	errQuoteEnd     = syntaxError("quoted local part does not end")
	errLong         = syntaxError("address is longer than 254 octets")
	errUTF8         = syntaxError("address is not valid UTF-8")
	errControl      = syntaxError("address contains a control character")
	errBracket      = syntaxError("address must be in angle brackets")
	errBracketEnd   = syntaxError("closing angle bracket is missing")
	errAfterPath    = syntaxError("a space must follow the closing angle bracket")
	errRoute        = syntaxError("source routes are not supported")
	errDomainEmpty  = syntaxError("domain is empty")
	errDomainChar   = syntaxError("bad character in the domain")
	errDomainLong   = syntaxError("domain is longer than 255 octets")
	errLabelEmpty   = syntaxError("empty label in the domain")
	errLabelLong    = syntaxError("label of the domain is longer than 63 octets")
	errLabelHyphen  = syntaxError("label of the domain begins or ends with a hyphen")
	errDomainNumber = syntaxError("domain ends in a number: an IP address needs brackets")
	errDomainIDN    = syntaxError("domain is not a valid internationalised name")
	errLiteral      = syntaxError("bad address literal")
	errNoDomain     = notQualified("address has no domain")
	errSingleLabel  = notQualified("domain is not fully qualified")

	errNeedsUTF8 error = &parseError{text: ErrNeedsUTF8.Error(), kinds: []error{ErrNeedsUTF8, ErrSyntax}}
)
