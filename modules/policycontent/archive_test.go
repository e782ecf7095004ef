package policycontent

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// File names in archives.
func TestArchives(t *testing.T) {
	const (
		exe      = "a file name that is not allowed: "
		unlisted = "cannot be listed: "
	)
	content := policy(t, "{\nfile_names forbid *.exe\n}")
	good := zipOf(t, "a.txt", "dir/b.txt")
	var end = good[strings.LastIndex(good, "PK\x05\x06"):]
	for name, c := range map[string]struct{ file, octets, want string }{
		"zip":              {"a.zip", good, ""},
		"zip, empty":       {"a.zip", zipOf(t), ""},
		"zip, exe":         {"a.zip", zipOf(t, "a.txt", "dir/B.Exe"), exe + "dir/B.Exe"},
		"zip, unnamed":     {"a.dat", zipOf(t, "b.exe"), exe + "b.exe"},
		"zip, encrypted":   {"a.zip", zipWith(t, &zip.FileHeader{Name: "b.exe", Flags: 1}), exe + "b.exe"},
		"zip in zip":       {"a.zip", zipOf(t, "b.zip"), ""},
		"zip, stored zip":  {"a.zip", storedZip(t, "a.txt", "hello", "b.docx", good), ""},
		"zip, stored zips": {"a.zip", storedZip(t, "a.zip", storedZip(t, "b.zip", good), "c.zip", good), ""},
		"zip, stored exe":  {"a.zip", storedZip(t, "b.zip", good, "c.exe", good), exe + "c.exe"},
		"zip, ends within": {"a.zip", endsWithin(t, good), unlisted + "it has several directories, or something behind the last"},
		"zip, other name":  {"a.zip", zipWith(t, &zip.FileHeader{Name: "b.txt", Extra: unicodePath("b.exe")}), exe + "b.exe"},
		"zip, name, NUL":   {"a.zip", zipWith(t, &zip.FileHeader{Name: "b.exe\x00.txt"}), exe + "b.exe"},
		"zip, other, NUL":  {"a.zip", zipWith(t, &zip.FileHeader{Name: "b.txt", Extra: unicodePath("b.exe\x00.txt")}), exe + "b.exe"},
		"zip, two others":  {"a.zip", zipWith(t, &zip.FileHeader{Name: "b.txt", Extra: append(unicodePath("b.txt"), unicodePath("b.exe")...)}), exe + "b.exe"},
		"zip, local other": {"a.zip", strings.Replace(zipWith(t, &zip.FileHeader{Name: "b.txt", Extra: unicodePath("c.txt")}), "c.txt", "c.exe", 1), exe + "c.exe"},
		"zip, local name":  {"a.zip", strings.Replace(good, "a.txt", "a.exe", 1), unlisted + "its directory does not say what is there"},
		"zip, local size":  {"a.zip", shorterWithin(t, zipOf(t, "b.exe")), unlisted + "its directory does not say what is there"},
		"zip, between":     {"a.zip", good[:30] + strings.Repeat("x", 100) + good[30:], unlisted + "its directory is broken"},
		"zip, before":      {"a.zip", "PK\x07\x08" + good, unlisted + "its directory is broken"},
		"zip, behind":      {"a.zip", good + "x", unlisted + "it has several directories, or something behind the last"},
		"zip, filled up":   {"a.zip", good + "\r\n" + strings.Repeat("\x00", 1000), ""},
		"zip, fill, exe":   {"a.zip", zipOf(t, "b.exe") + "\n", exe + "b.exe"},
		"zip, zip behind":  {"a.zip", good + "\n" + good, unlisted},
		"zip, stream":      {"a.zip", zipOf(t, "b.exe:x"), exe + "b.exe:x"},
		"zip, slashes":     {"a.zip", zipOf(t, "b.exe\\"), exe + "b.exe"},
		"zip, two ends":    {"a.zip", good[:len(good)-2] + "\x16\x00" + end, unlisted + "it has several directories, or something behind the last"},
		"zip, cut":         {"a.zip", good[:len(good)-30], unlisted + "it has no directory"},
		"zip, none":        {"a.zip", "hello", unlisted + "it has no directory"},
		"zip, nothing":     {"a.zip", "", unlisted + "it has no directory"},
		"zip, says much":   {"a.zip", zipWith(t, &zip.FileHeader{Name: "a", Method: 8, UncompressedSize64: 1 << 40}), unlisted + "it says that it holds "},
		"zip, many":        {"a.zip", zipOf(t, numbered(maxEntries+1)...), unlisted + "it has more than 10000 entries"},
		"zip, most":        {"a.zip", zipOf(t, numbered(maxEntries)...), ""},
		"zip, comment":     {"a.zip", good[:len(good)-2] + "\x05\x00hello", ""},
		"tar, filled up":   {"a.tar", tarOf(t, "a.txt") + strings.Repeat("\x00", 9000) + "\r\n", ""},
		"tar, tar behind":  {"a.tar", tarOf(t, "a.txt") + tarOf(t, "b.exe"), unlisted + "there is something behind its end"},
		"tar, far behind":  {"a.tar", tarOf(t, "a.txt") + strings.Repeat("\x00", 9000) + tarOf(t, "b.exe"), unlisted + "there is something behind its end"},
		"tgz, filled up":   {"a.tgz", gzipOf(t, "", tarOf(t, "a.txt")) + "\r\n" + strings.Repeat("\x00", 9000), ""},
		"tgz, two members": {"a.tgz", gzipOf(t, "", tarOf(t, "b.exe")[:512]) + gzipOf(t, "", tarOf(t, "b.exe")[512:]), exe + "b.exe"},
		"tgz, tgz behind":  {"a.tgz", gzipOf(t, "", tarOf(t, "a.txt")) + "\r\n" + gzipOf(t, "", tarOf(t, "b.exe")), unlisted + "there is something behind its end"},
		"tgz, x behind":    {"a.tgz", gzipOf(t, "", tarOf(t, "a.txt")) + "x", unlisted + "there is something behind its end"},
		"tgz, tar behind":  {"a.tgz", gzipOf(t, "", tarOf(t, "a.txt")+tarOf(t, "b.exe")), unlisted + "there is something behind its end"},
		"no bzip2":         {"a.txt", "BZhang wrote this", ""},
		"bzip2":            {"a.txt", "BZh91AY&SY", unlisted + "bzip2 is not supported"},
		"no cabinet":       {"a.txt", "MSCF is a format", ""},
		"tar":              {"a.tar", tarOf(t, "a.txt", "b/"+strings.Repeat("long", 50)), ""},
		"tar, exe":         {"a", tarOf(t, "a.txt", "b/c.exe"), exe + "b/c.exe"},
		"tar, empty":       {"a.tar", strings.Repeat("\x00", 10240), ""},
		"tar, empty, exe":  {"a.tar", strings.Repeat("\x00", 10240) + tarOf(t, "b.exe"), unlisted + "there is something behind its end"},
		"tar, nothing":     {"a.tar", "", unlisted + "it cannot be read as tar"},
		"tar, none":        {"a.tar", "hello", unlisted + "it cannot be read as tar"},
		"tar, cut":         {"a.tar", tarOf(t, "a.txt", "b.txt")[:1100], unlisted + "it cannot be read as tar"},
		"gz named zip":     {"a.zip", gzipOf(t, "", strings.Repeat("text", 9000)) + zipOf(t, "b.exe"), unlisted + "it is called zip, and is gzip"},
		"tar named zip":    {"a.zip", tarOf(t, "a.txt"), unlisted + "it is called zip, and is tar"},
		"zip named tar":    {"a.tar", good, unlisted + "it is called tar, and is zip"},
		"tar named gz":     {"a.tar.gz", tarOf(t, "a.txt"), ""},
		"gz named tar":     {"a.tar", gzipOf(t, "", tarOf(t, "a.txt")), ""},
		"tar, old":         {"a.dat", oldTar("b.exe"), exe + "b.exe"},
		"tar, symlink":     {"a.tar", linkTar('2'), unlisted + "a in it says that it has contents, which readers skip or not"},
		"tar, hard link":   {"a.tar", linkTar('1'), unlisted + "a in it says that it has contents, which readers skip or not"},
		"tar, fifo":        {"a.tgz", gzipOf(t, "", linkTar('6')), unlisted + "a in it says that it has contents, which readers skip or not"},
		"tar, Solaris":     {"a.tar", oldHeader("x", 'X', 14) + "14 path=b.exe\n" + strings.Repeat("\x00", 498) + oldTar("a.txt"), unlisted + "it has names in a form that is not supported"},
		"tar, directory":   {"a.tar", linkTar('5'), ""},
		"tgz, old":         {"a.tgz", gzipOf(t, "", oldTar("b.exe")), exe + "b.exe"},
		"gz, old":          {"a.gz", gzipOf(t, "", oldTar("a.txt")), ""},
		"no old tar":       {"a.txt", strings.Repeat("text 12 \r\n", 100), ""},
		"no lha":           {"a.txt", "re-lay-out", ""},
		"tgz, many":        {"a.tgz", gzipOf(t, "", tarOf(t, numbered(maxEntries+1)...)), unlisted + "it has more than 10000 entries"},
		"tgz":              {"a.tgz", gzipOf(t, "", tarOf(t, "a.txt")), ""},
		"tgz, exe":         {"a.tar.gz", gzipOf(t, "", tarOf(t, "a.txt", "b.exe")), exe + "b.exe"},
		"gz":               {"a.txt.gz", gzipOf(t, "a.txt", "text"), ""},
		"gz, exe":          {"a.gz", gzipOf(t, "b.exe", "text"), exe + "b.exe"},
		"gz, exe by name":  {"b.exe.gz", gzipOf(t, "", "text"), exe + "b.exe"},
		"gz, none":         {"a.gz", "hello", unlisted + "it cannot be read as gzip"},
		"gz, cut":          {"a.gz", gzipOf(t, "", "text")[:15], unlisted + "it cannot be read as gzip"},
		"rar":              {"a.dat", "Rar!\x1a\x07\x01\x00", unlisted + "rar is not supported"},
		"7z by name":       {"a.7Z", "hello", unlisted + "7z is not supported"},
		"lha":              {"a.dat", "xx-lh5-xxxx", unlisted + "lha is not supported"},
		"no archive":       {"a.txt", "hello", ""},
		"no archive, none": {"a.txt", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(t, content, mixed("", text, attached(c.file, c.octets)))
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if got != "" && !strings.HasPrefix(got, forbidden+" Part 1.2, application/octet-stream, ") {
				t.Error(got)
			}
		})
	}
}

func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i) + ".txt"
	}
	return names
}

// A compressed tar is inflated only so far.
func TestGzipBomb(t *testing.T) {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "zeros", Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	octets := gzipOf(t, "", b.String()+strings.Repeat("\x00", 1<<20))
	for most, want := range map[int64]string{1 << 20: "the message's archives hold more than 134217728 octets together", 2 << 20: ""} {
		err := listGzip(bufio.NewReader(strings.NewReader(octets)), new(message.Part), &budget{context.Background(), most}, func(string) error { return nil })
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%d: %v", most, err)
		}
	}
}

// What archives inflate to is bounded a message, not a part, and ends with the policy's time (outside CI by a smaller bound).
func TestGzipBombs(t *testing.T) {
	smaller := installed.Rounds(1, 25)
	size := 50 << 20 / smaller
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "zeros", Size: int64(size)}); err != nil {
		t.Fatal(err)
	}
	bomb := attached("a.tgz", gzipOf(t, "", b.String()+strings.Repeat("\x00", size)))
	c := policy(t, "{\nfile_names forbid *.exe\n}")
	c.inflates /= int64(smaller)
	if got := judge(t, c, mixed("", bomb, bomb)); got != "" {
		t.Error(got)
	}
	if got := judge(t, c, mixed("", bomb, bomb, bomb)); !strings.Contains(got, "Part 1.3, application/octet-stream, is an archive that cannot be listed: the message's archives hold more than") {
		t.Error(got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	opened := 0
	octets := mixed("", bomb)
	m := caddymsa.NewMessage(int64(len(octets)), func() (io.ReadCloser, error) {
		if opened++; opened == 3 { // header, structure, and then the parts
			return io.NopCloser(io.MultiReader(strings.NewReader(octets[:len(octets)/2]), cancelling(cancel), strings.NewReader(octets[len(octets)/2:]))), nil
		}
		return io.NopCloser(strings.NewReader(octets)), nil
	})
	if err := c.CheckMessage(ctx, msatest.NewSubmission("alice", ""), m); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// cancelling ends a context once it is read.
type cancelling func()

func (c cancelling) Read([]byte) (int, error) {
	c()
	return 0, io.EOF
}

// A file in a text is a file for some readers.
func TestUuencoded(t *testing.T) {
	c := policy(t, "{\nfile_names forbid *.exe\n}")
	long := strings.Repeat("x", 10_000)
	for body, refused := range map[string]bool{
		"Hello.\nbegin 644 a.exe\n#0V%T\n`\nend": true, "begin 0644  A.EXE \n": true, "begin-base64 644 a.exe": true, long + "\nbegin 644 a b.exe\n": true,
		"begin 644 a.txt\n": false, "begin 888 a.exe\n": false, "x begin 644 a.exe\n": false, long + "begin 644 a.exe": false, "begin the a.exe\n": false,
		"=ybegin line=128 size=9 name=a.exe\nx\n=yend size=9\n": true, "=ybegin part=1 line=128 size=9 name=a b.EXE \n": true, "=ybegin name=a.exe": true,
		"=ybegin line=128 size=9 name=a.txt\n": false, "=ybegin line=128 filename=a.exe\n": false, "=ybegin2 name=a.exe\n": false, "x =ybegin line=128 name=a.exe\n": false,
	} {
		got := judge(t, c, mixed("", part{"Content-Type: text/plain\n", body}))
		if refused != (strings.Contains(got, "has a file in it, uuencoded, whose name") || strings.Contains(got, "has a file in it, in yEnc, whose name")) || !refused && got != "" {
			t.Errorf("%.40q: %s", body, got)
		}
	}
}

func TestUuencodedAllowed(t *testing.T) {
	c := policy(t, "{\nfile_names allow *.txt\n}")
	for body, refused := range map[string]bool{"begin 644 a.exe\n": true, "begin 644 a.txt\n": false, "Hello.": false} {
		if got := judge(t, c, mixed("", part{"Content-Type: text/plain\n", body})); refused != (got != "") {
			t.Errorf("%q: %s", body, got)
		}
	}
}

// Names in archives are held to their own list, and what is an archive to its name.
func TestArchivedNames(t *testing.T) {
	c := policy(t, "{\narchived_names allow *.xml\n}")
	for octets, want := range map[string]string{
		mixed("", attached("a.zip", zipOf(t, "a.xml", "b/c.XML"))): "",
		mixed("", attached("a.zip", zipOf(t, "a.xml", "b.txt"))):   forbidden + " Part 1.1, application/octet-stream, has within it a file name that is not allowed: b.txt (file_names)",
		mixed("", attached("a.txt", "text")):                       "",
	} {
		if got := judge(t, c, octets); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What a tar says of all files behind is no file (git archive puts it first), nor is a directory whose name has no slash.
func TestTarAllowed(t *testing.T) {
	c := policy(t, "{\narchived_names allow *.xml\n}")
	for name, h := range map[string]struct {
		tar.Header
		refused bool
	}{
		"comment":   {tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "abc"}}, false},
		"path":      {tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "b.exe"}}, true},
		"directory": {tar.Header{Typeflag: tar.TypeDir, Name: "dir"}, false},
		"file":      {tar.Header{Typeflag: tar.TypeReg, Name: "b.exe"}, true},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []*tar.Header{&h.Header, {Name: "dir/a.xml", Mode: 0o600}} {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := judge(t, c, mixed("", attached("a.tar", b.String()))); h.refused != strings.Contains(got, "not allowed") || !h.refused && got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Nothing is left of what an archive is kept in; where there is no room, the client may try again.
func TestArchiveFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	c := policy(t, "{\nfile_names forbid *.exe\n}")
	octets := mixed("", attached("a.zip", zipOf(t, "a.txt")))
	if got := judge(t, c, octets); got != "" {
		t.Error(got)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Error(files)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "none"))
	err := c.CheckMessage(context.Background(), nil, ofOctets(octets))
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Any octets are listed, or are said not to be.
func FuzzArchive(f *testing.F) {
	for _, s := range []string{zipOf(f, "a"), tarOf(f, "a", "b"), gzipOf(f, "a", "text"), gzipOf(f, "", tarOf(f, "a"))} {
		f.Add("application/zip", "a.zip", []byte(s))
	}
	f.Add("a/b", "a.tgz", []byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, mediaType, name string, octets []byte) {
		p := &message.Part{Type: mediaType, FileNames: []string{name}}
		br := bufio.NewReaderSize(bytes.NewReader(octets), 4096)
		head, _ := br.Peek(tarHead)
		n := 0
		err := list(br, kindOf(p, head), p, &budget{context.Background(), 1 << 20}, func(string) error { n++; return nil })
		if _, ok := errors.AsType[*notListed](err); err != nil && !ok {
			t.Fatal(err)
		}
		if n > len(octets)+1 {
			t.Fatalf("%d names in %d octets", n, len(octets))
		}
	})
}
