package textfile

import (
	"bytes"
	"errors"
)

// PEM is a whole file for parsers of PEM that stumble, as Go's does, over byte order marks and over blocks with no line end between
// them, as in files that were put together of several. What such parsers pass over without a word is an error: a block that is cut off.
func PEM(b []byte) ([]byte, error) {
	switch {
	case IsUTF16(b):
		return nil, errors.New("the file is UTF-16; save it as UTF-8")
	case bytes.HasPrefix(b, []byte("\x30")) && bytes.IndexByte(b, 0) >= 0:
		return nil, errors.New("the file is DER or PKCS #12, and not PEM; convert it with openssl x509 -inform der, openssl pkey -inform der or openssl pkcs12")
	case bytes.Count(b, []byte("-----BEGIN ")) > bytes.Count(b, []byte("-----END ")):
		return nil, errors.New("the file is cut off: a block begins and does not end")
	}
	b = bytes.ReplaceAll(b, []byte(ByteOrderMark), nil)
	return bytes.ReplaceAll(b, []byte("----------BEGIN "), []byte("-----\n-----BEGIN ")), nil
}

// IsUTF16 tells whether a file begins as those that Windows saves as UTF-16, or as "Unicode".
func IsUTF16(b []byte) bool {
	return bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff"))
}
