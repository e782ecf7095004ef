package policycontent

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// Bounds of listing an archive.
const (
	maxEntries  = 10_000    // names in it
	maxInflated = 128 << 20 // octets that the compressed tars of a message are inflated to, all together
	maxRatio    = 1100      // how many times its size an archive says to hold; deflate reaches 1032
)

// notListed says why an archive cannot be listed.
type notListed struct{ why string }

func (e *notListed) Error() string { return e.why }

func cannotList(format string, args ...any) error { return &notListed{fmt.Sprintf(format, args...)} }

// notAdmitted is a name in an archive that may not be there.
type notAdmitted struct{ name string }

func (e *notAdmitted) Error() string { return "not allowed: " + e.name }

// listsArchives tells whether names in archives matter.
func (c *Content) listsArchives() bool { return c.inside.allow != nil || c.inside.forbid != nil }

// checkArchive judges the names in a part that is an archive, by its content or by what it says
// of itself. Archives within are names only.
func (c *Content) checkArchive(p *message.Part, body io.Reader, inflate *budget) error {
	source := &remember{r: body}
	br := bufio.NewReaderSize(source, 4096)
	head, _ := br.Peek(tarHead)
	count := 0
	admit := func(name string) error {
		if count++; count > maxEntries {
			return cannotList("it has more than %d entries", maxEntries)
		}
		if !c.inside.admitEntry(name) {
			return &notAdmitted{name}
		}
		return inflate.ctx.Err()
	}
	kind := kindOf(p, head)
	if kind == "" && strings.HasPrefix(p.Type, "text/") {
		return c.checkText(p, br)
	}
	err := list(br, kind, p, inflate, admit)
	if source.err != nil && !errors.Is(source.err, io.EOF) {
		return source.err
	}
	if bad, ok := errors.AsType[*notAdmitted](err); ok {
		return c.forbidden(ruleNames, "%s has within it a file name that is not allowed: %s", c.part(p), short(bad.name))
	}
	if bad, ok := errors.AsType[*notListed](err); ok {
		return c.forbidden(ruleArchives, "%s is an archive that cannot be listed: %s", c.part(p), bad.why)
	}
	return err
}

// list gives each name in an archive to admit.
func list(r *bufio.Reader, kind string, p *message.Part, inflate *budget, admit func(string) error) error {
	switch kind {
	case "":
		return nil
	case "zip":
		return listZipStream(r, admit)
	case "tar":
		return listTar(r, admit)
	case "gzip":
		return listGzip(r, p, inflate, admit)
	}
	return cannotList("%s is not supported", kind)
}

// tarHead is how much of a part tells what it is: tar's mark is at 257.
const tarHead = 512

// marks are what archives begin with.
var marks = []struct{ mark, kind string }{
	{"PK\x03\x04", "zip"}, {"PK\x05\x06", "zip"}, {"PK\x07\x08", "zip"}, {"PK00PK", "zip"}, {"\x1f\x8b", "gzip"}, {"Rar!\x1a\x07", "rar"}, {"7z\xbc\xaf\x27\x1c", "7z"}, {"BZh1", "bzip2"}, {"BZh2", "bzip2"}, {"BZh3", "bzip2"},
	{"BZh4", "bzip2"}, {"BZh5", "bzip2"}, {"BZh6", "bzip2"}, {"BZh7", "bzip2"}, {"BZh8", "bzip2"}, {"BZh9", "bzip2"},
	{"\xfd7zXZ\x00", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"MSCF\x00\x00\x00\x00", "cab"}, {"\x60\xea", "arj"}, {"\x1f\x9d", "compress"}, {"LZIP\x01", "lzip"}, {"xar!\x00", "xar"}, {"!<arch>\n", "ar"}, {"ISc(", "cab"},
}

// endings are file names of archives, and subtypes what they are labelled as.
var (
	endings = map[string]string{
		".zip": "zip", ".tar": "tar", ".tgz": "gzip", ".gz": "gzip", ".rar": "rar", ".7z": "7z", ".bz2": "bzip2", ".tbz2": "bzip2", ".tbz": "bzip2", ".xz": "xz", ".txz": "xz", ".zst": "zstd",
		".cab": "cab", ".arj": "arj", ".lzh": "lha", ".lha": "lha", ".ace": "ace", ".z": "compress", ".lz": "lzip", ".iso": "iso", ".img": "disk image", ".dmg": "disk image", ".vhd": "disk image", ".vhdx": "disk image",
	}
	subtypes = map[string]string{
		"application/zip": "zip", "application/x-zip": "zip", "application/x-zip-compressed": "zip", "application/x-tar": "tar", "application/gzip": "gzip",
		"application/x-gzip": "gzip", "application/vnd.rar": "rar", "application/x-rar-compressed": "rar", "application/x-rar": "rar", "application/x-7z-compressed": "7z", "application/x-bzip2": "bzip2", "application/x-xz": "xz",
		"application/zstd": "zstd", "application/vnd.ms-cab-compressed": "cab", "application/x-lzh-compressed": "lha", "application/x-ace-compressed": "ace", "application/x-iso9660-image": "iso",
	}
)

// kindOf tells what archive a part is, first of all by its content; empty: none.
func kindOf(p *message.Part, head []byte) string {
	for _, m := range marks {
		if bytes.HasPrefix(head, []byte(m.mark)) {
			return m.kind
		}
	}
	switch {
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		return "tar"
	case len(head) > 6 && head[2] == '-' && head[3] == 'l' && head[6] == '-':
		return "lha"
	}
	if kind := subtypes[p.Type]; kind != "" {
		return kind
	}
	for _, name := range p.FileNames {
		if kind := endings[strings.ToLower(path.Ext(strings.TrimRight(name, ". ")))]; kind != "" {
			return kind
		}
	}
	return ""
}

// listZipStream keeps the archive in a file without a name for as long as it is read: its
// directory is at the end, and names the places before.
func listZipStream(r io.Reader, admit func(string) error) error {
	f, err := os.CreateTemp("", "msa-content-*.zip")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	size, err := io.Copy(f, r)
	if err != nil {
		return err
	}
	return listZip(f, size, admit)
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
		if err := admit(h.Name); err != nil {
			return err
		}
	}
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

// asNotListed leaves what we said ourselves, and that the time is over.
func asNotListed(err error, why string) error {
	if _, ok := errors.AsType[*notListed](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return cannotList("%s", why)
}
