package policycontent

import (
	"io"
	"iter"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// zipSizes gives the sizes and the place of an entry, which a zip64 field may hold.
func zipSizes(h, extra []byte) (uncompressed, compressed, at int64, err error) {
	compressed, uncompressed, at = int64(le.Uint32(h[20:])), int64(le.Uint32(h[24:])), int64(le.Uint32(h[42:]))
	return uncompressed, compressed, at, zip64Values(extra, &uncompressed, &compressed, &at)
}

// zip64Values takes what 32 bits do not hold from a zip64 field.
func zip64Values(extra []byte, values ...*int64) error {
	var field []byte
	for f := range zipExtra(extra, zipExtra64) {
		field = f
		break
	}
	for _, v := range values {
		if *v != 0xFFFFFFFF {
			continue
		}
		if len(field) < 8 {
			return cannotList("its directory is broken")
		}
		*v, field = clamp(le.Uint64(field)), field[8:]
	}
	return nil
}

// zipExtra gives the extra fields of an id.
func zipExtra(extra []byte, id uint16) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(extra) >= 4 {
			n := int(le.Uint16(extra[2:]))
			if n > len(extra)-4 || le.Uint16(extra) == id && !yield(extra[4:4+n]) {
				return
			}
			extra = extra[4+n:]
		}
	}
}

// zipLocalText reads the header before a file into local, and gives the name and the extra fields behind it.
func zipLocalText(r io.ReaderAt, local []byte, at int64) (name, extra []byte, err error) {
	if _, err := r.ReadAt(local, at); err != nil {
		return nil, nil, err
	}
	n := int(le.Uint16(local[26:]))
	text := make([]byte, n+int(le.Uint16(local[28:])))
	if _, err := r.ReadAt(text, at+zipLocal); err != nil {
		return nil, nil, err
	}
	return text[:n], text[n:], nil
}

// zipEndsThere tells whether the header before a file says where it ends as the directory does, if it says so.
func zipEndsThere(local, extra []byte, compressed int64) bool {
	uncompressed, said := int64(le.Uint32(local[22:])), int64(le.Uint32(local[18:]))
	return le.Uint16(local[6:])&zipFlagLater != 0 || zip64Values(extra, &uncompressed, &said) == nil && said == compressed
}

// zipNames are the names that a reader may see of an entry.
func zipNames(name, extra []byte, flags uint16) []string {
	names := upToNUL(nil, zipName(name, flags&zipFlagUTF8 != 0))
	return append(names, zipOtherNames(extra)...)
}

// zipOtherNames are the Unicode paths among an entry's extra fields.
func zipOtherNames(extra []byte) (names []string) {
	for path := range zipExtra(extra, zipExtraUnicode) {
		if len(path) > 5 {
			names = upToNUL(names, string(path[5:]))
		}
	}
	return names
}

// upToNUL adds a name, and what readers in C see of it.
func upToNUL(names []string, name string) []string {
	if start, _, found := strings.Cut(name, "\x00"); found {
		names = append(names, start)
	}
	return append(names, name)
}

func zipName(name []byte, isUTF8 bool) string {
	if isUTF8 || utf8.Valid(name) {
		return string(name)
	}
	text, err := charmap.CodePage437.NewDecoder().Bytes(name)
	if err != nil {
		return string(name)
	}
	return string(text)
}
