package policycontent

import (
	"bytes"
	"path"
	"regexp"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

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

// lhaMethod is how a file is compressed in LHA, such as -lh5- and -lzs-.
var lhaMethod = regexp.MustCompile(`^-(?:lh[0-9a-z]|lz[s0-9]|pm[s0-2])-`)

// kindOf tells what archive a part is, first of all by its content; empty: none.
func kindOf(p *message.Part, head []byte) string {
	for _, m := range marks {
		if bytes.HasPrefix(head, []byte(m.mark)) {
			return m.kind
		}
	}
	switch {
	case isTar(head):
		return "tar"
	case len(head) > 6 && lhaMethod.Match(head[2:7]):
		return "lha"
	}
	if kind := subtypes[p.Type]; kind != "" {
		return kind
	}
	for _, name := range p.FileNames {
		if kind := endingOf(name); kind != "" {
			return kind
		}
	}
	return ""
}

func endingOf(name string) string {
	return endings[strings.ToLower(path.Ext(strings.TrimRight(name, ". ")))]
}

// misnamed tells what an archive is called that may be read otherwise than its first octets say: a zip is read from its end, and
// what begins as one may be a tar whose first file is called so.
func misnamed(p *message.Part, kind string) string {
	var called []string
	for _, name := range p.FileNames {
		if ending := endingOf(name); ending != "" {
			called = append(called, ending)
		}
	}
	if called == nil { // readers heed the type only then
		called = []string{subtypes[p.Type]}
	}
	for _, c := range called {
		if c == "zip" && (kind == "gzip" || kind == "tar") || c == "tar" && kind == "zip" {
			return c
		}
	}
	return ""
}
