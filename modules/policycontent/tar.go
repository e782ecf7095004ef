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
	raw := &lastBlock{r: r}
	tr := tar.NewReader(raw)
	for n := 0; ; n++ {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && (n > 0 || raw.some): // without a file it is two blocks of zeros
			return nothingBehind(r)
		case err != nil:
			return asNotListed(err, "it cannot be read as tar")
		}
		if h.Typeflag == 'X' { // Solaris' own PAX header, which others read and Go takes for a file
			return cannotList("it has names in a form that is not supported")
		}
		if raw.misleads(h) {
			return cannotList("%s in it says that it has contents, which readers skip or not", short(h.Name))
		}
		if err := admitTar(h, admit); err != nil {
			return err
		}
	}
}

// lastBlock keeps what was read last: of what it is that has no contents, Go's reader does not tell the size.
type lastBlock struct {
	r     io.Reader
	block [512]byte
	some  bool // anything was read
}

func (l *lastBlock) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.some = l.some || n > 0
	last := p[max(0, n-len(l.block)):n]
	copy(l.block[:], l.block[len(last):])
	copy(l.block[len(l.block)-len(last):], last)
	return n, err
}

// misleads tells whether a link or a device, whose header was just read, has a size. Go's reader heeds none, GNU tar and libarchive
// skip as much. None does for directories, which some write with one.
func (l *lastBlock) misleads(h *tar.Header) bool {
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return strings.Trim(string(l.block[124:136]), "0 \x00") != "" || strings.Trim(h.PAXRecords["size"], "0") != ""
	}
	return false
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
