package message

import (
	"iter"
	"math/bits"
)

// Defects is a set of what is wrong with a part. Mail readers, scanners and back offices differ
// in what they make of each, so a message with defects may be another one behind us.
type Defects uint32

// The defects, each by the name in its comment.
const (
	// DuplicateField: a Content-* field or MIME-Version appears twice; the first counts here.
	DuplicateField Defects = 1 << iota
	// BadHeader: a line of the part's header is not a field, is a fold of nothing, or has white
	// space before the colon; or the header ends with no empty line.
	BadHeader
	// BadType: Content-Type cannot be read, a parameter appears twice, or one that matters is written as RFC
	// 2231 allows and few expect.
	BadType
	// BadDisposition: Content-Disposition cannot be read, or a parameter appears twice.
	BadDisposition
	// NoVersion: a message has MIME fields, and no MIME-Version 1.0 (RFC 2045 section 4).
	NoVersion
	// BadBoundary: a multipart has no boundary, one that RFC 2046 section 5.1.1 does not allow,
	// or one that begins as that of an enclosing part does; or a line begins with a boundary and goes on.
	BadBoundary
	// NoParts: the boundary of a multipart never comes.
	NoParts
	// Unclosed: the end boundary of a multipart is missing.
	Unclosed
	// AfterEnd: there is text, or another boundary, behind the end boundary.
	AfterEnd
	// UnknownEncoding: the transfer encoding is none of RFC 2045.
	UnknownEncoding
	// EncodedContainer: a multipart or an embedded message is encoded (RFC 2045 section 6.4). A
	// multipart is read as if it were not; an embedded message is not looked into.
	EncodedContainer
	// BadBase64: octets that are not base64, padding within, or an incomplete end.
	BadBase64
	// BadQuotedPrintable: an equals sign without two hexadecimal digits, or an octet over 126.
	BadQuotedPrintable
	// EightBit: the encoding is 7bit, and there are octets over 127.
	EightBit
	// BadFileName: a file name has invisible or invalid characters, or more than 255 octets, or is
	// written in a way that readers take differently, such as in pieces of which one is missing.
	BadFileName

	allDefects = BadFileName<<1 - 1
)

var defectNames = []string{
	"duplicate_field", "bad_header", "bad_type", "bad_disposition", "no_version", "bad_boundary", "no_parts", "unclosed", "after_end",
	"unknown_encoding", "encoded_container", "bad_base64", "bad_quoted_printable", "eight_bit", "bad_file_name",
}

// ParseDefect returns the defect of the name, such as "unclosed".
func ParseDefect(name string) (Defects, bool) {
	for i, n := range defectNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// DefectNames are the names of all defects.
func DefectNames() []string { return append([]string(nil), defectNames...) }

// Has tells whether one of the others is among d.
func (d Defects) Has(others Defects) bool { return d&others != 0 }

// Names gives the name of each defect in d.
func (d Defects) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := uint32(d & allDefects); rest != 0; rest &= rest - 1 {
			if !yield(defectNames[bits.TrailingZeros32(rest)]) {
				return
			}
		}
	}
}
