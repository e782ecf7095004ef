package message

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-msa/caddy-msa/caddymsa"
)

// Structure is what a message is made of (RFC 2045, RFC 2046).
type Structure struct {
	// Parts in the order in which they begin: first the message itself, and each multipart or
	// embedded message before what is in it. There is always at least one.
	Parts []Part
	// MaxDepth is the depth of the deepest part. Zero: there is nothing but the message itself.
	MaxDepth int
	// Defects of all parts together.
	Defects Defects
}

// Root is the message itself, seen as a part.
func (s *Structure) Root() *Part { return &s.Parts[0] }

// Part is the message itself, a part of a multipart, or an embedded message.
type Part struct {
	// Path numbers the part in its tree: "1" is the message, "1.2" the second part of it,
	// "1.2.1" the first in that; the message within a message/rfc822 part "1.3" is "1.3.1".
	Path string
	// Depth is how many parts this one is in. Zero: the message itself.
	Depth int
	// Parent is the index in Structure.Parts of the part that this one is in; -1 for the message.
	Parent int
	// Type is the media type, such as "application/xml", in lower case. Without a Content-Type it
	// is what RFC 2045 section 5.2 says, with one that cannot be read "application/octet-stream".
	Type string
	// Params of the Content-Type: names in lower case, values as they are.
	Params map[string]string
	// Charset is the parameter charset, by its CharsetName; of text without one it is "us-ascii".
	Charset string
	// Encoding is the Content-Transfer-Encoding in lower case. Default "7bit".
	Encoding string
	// Disposition is the type of the Content-Disposition in lower case, "attachment" or "inline"
	// mostly. Empty: there is none.
	Disposition string
	// FileName is the first of FileNames, or empty.
	FileName string
	// FileNames are all names that a reader might see: of Content-Disposition before that of
	// Content-Type, decoded (RFC 2231, RFC 2047), each at most 255 octets of UTF-8 in which
	// U+FFFD stands for what is invalid or invisible. More than one is rare.
	FileNames []string
	// Size of the body as submitted, in octets, the line end before a boundary not counted. Of
	// multiparts and embedded messages it is zero: what is in them counts by itself.
	Size int64
	// DecodedSize is the size of the body behind its transfer encoding.
	DecodedSize int64
	// Container tells that other parts are in this one: a multipart, or a message/rfc822.
	Container bool
	// Defects of this part.
	Defects Defects

	others []string // boundaries, to who does not know comments
}

// Limits of a walk. A zero means its default.
type Limits struct {
	// Parts at most, the message itself and multiparts counted. Default 1000.
	Parts int
	// Depth at most. Default 20.
	Depth int
}

// Defaults of Limits, which PartsOf has. What else a walk keeps in memory is bounded by
// maxPartHeader, maxPartHeaders and maxKept.
const (
	DefaultParts = 1000
	DefaultDepth = 20
)

// LimitError says that a message goes over a limit of the walk. Such a message can be refused,
// not looked into. A header of the message itself that is too long is ErrHeaderTooLong.
type LimitError struct {
	// What there is too much of: "parts", "levels of parts", or octets of something.
	What string
	// Max of it.
	Max int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the message has more than %d %s", e.Max, e.What)
}

// A Visitor is given each part that contains no others, and its body behind the transfer
// encoding; what it leaves is read by the walk. The sizes and the defects of the body are
// known once the walk is done. An error ends the walk, which returns it.
type Visitor func(p *Part, body io.Reader) error

// PartsOf returns the structure of the message as submitted, which is found once for all who ask.
// A *LimitError and ErrHeaderTooLong, the client's fault, are remembered like a result;
// any other error is one of reading the message.
func PartsOf(ctx context.Context, m *caddymsa.Message) (*Structure, error) {
	s, err := m.Once(partsKey{}, func() (any, error) { return Walk(ctx, m, Limits{}, nil) })
	switch {
	case err == nil:
		return s.(*Structure), nil
	case ctx.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return Walk(ctx, m, Limits{}, nil) // the time that was over was somebody else's
	}
	return nil, err
}

type partsKey struct{}

// Walk reads the message from its start and gives each part to visit, which may be nil. It takes
// time in proportion to the message's size, and memory that does not depend on it. It ends soon
// after ctx does.
func Walk(ctx context.Context, m *caddymsa.Message, limits Limits, visit Visitor) (*Structure, error) {
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return WalkReader(ctx, r, limits, visit)
}

// WalkReader is Walk of a message that is read from r.
func WalkReader(ctx context.Context, r io.Reader, limits Limits, visit Visitor) (*Structure, error) {
	if limits.Parts <= 0 {
		limits.Parts = DefaultParts
	}
	if limits.Depth <= 0 {
		limits.Depth = DefaultDepth
	}
	w := &walker{lines: newLines(ctx, r), limits: limits, visit: visit, headers: maxPartHeaders}
	if err := w.walk(); err != nil {
		return nil, err
	}
	return &w.found, nil
}
