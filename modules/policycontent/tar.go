package policycontent

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// isTar tells a tar by its first header: by its mark, or, as it was before POSIX, by its checksum alone.
func isTar(head []byte) bool {
	if len(head) >= 262 && string(head[257:262]) == "ustar" {
		return true
	}
	if len(head) < tarHead || head[0] == 0 {
		return false
	}
	said, err := strconv.ParseInt(strings.Trim(string(head[148:156]), " \x00"), 8, 64)
	sum, signed := int64(8*' '), int64(8*' ') // some made it of signed octets
	for i, c := range head[:tarHead] {
		if i < 148 || i >= 156 {
			sum += int64(c)
			signed += int64(int8(c))
		}
	}
	return err == nil && (said == sum || said == signed)
}

func listTar(r io.Reader, admit func(string) error) error {
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nothingBehind(r)
		case err != nil:
			return asNotListed(err, "it cannot be read as tar")
		}
		if err := admitTar(h, admit); err != nil {
			return err
		}
	}
}

func admitTar(h *tar.Header, admit func(string) error) error {
	name := h.Name
	switch h.Typeflag {
	case tar.TypeXGlobalHeader: // it is no file, but may name those behind it, which Go's reader does not heed
		if name = h.PAXRecords["path"]; name == "" {
			return nil
		}
	case tar.TypeDir:
		name = strings.TrimRight(name, "/") + "/"
	}
	return admit(name)
}

// nothingBehind reads what is behind the end of a tar, where some readers go on: octets that fill it up, or that mail put there.
func nothingBehind(r io.Reader) error {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		if len(bytes.Trim(b[:n], "\x00\r\n")) > 0 {
			return cannotList("there is something behind its end")
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return asNotListed(err, "it cannot be read as tar")
		}
	}
}
