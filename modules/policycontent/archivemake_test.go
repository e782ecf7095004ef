package policycontent

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
)

func tarOf(t testing.TB, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: 4}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "text"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// shorterWithin has a file whose own header says that it is empty, so that what it has is files for who reads from the start.
func shorterWithin(t testing.TB, files string) string {
	t.Helper()
	octets := []byte(storedZip(t, "a.txt", files[:strings.Index(files, "PK\x01\x02")]))
	octets[6] &^= 8 // there is nothing behind the file that says more
	return string(octets)
}

// oldHeader is one of a tar as it was before POSIX, without a mark (tar --format=v7).
func oldHeader(name string, kind byte, size int) string {
	head := make([]byte, 512)
	copy(head, name)
	copy(head[100:], fmt.Sprintf("0000600\x000000000\x000000000\x00%011o\x0000000000000\x00        %c", size, kind))
	sum := 0
	for _, c := range head {
		sum += int(c)
	}
	copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(head)
}

func oldTar(name string) string {
	return oldHeader(name, '0', 4) + "text" + strings.Repeat("\x00", 508+1024)
}

// linkTar has something of a kind that has no contents, and says that there are some: GNU tar goes by that, and finds b.exe.
func linkTar(kind byte) string {
	return oldHeader("a", kind, 512) + oldHeader("c.txt", '0', 1024) + oldHeader("b.exe", '0', 0) + strings.Repeat("\x00", 512+1024)
}

func gzipOf(t testing.TB, name, octets string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name = name
	if _, err := io.WriteString(w, octets); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// zipWith lets change the headers of the entries, which have no data.
func zipWith(t testing.TB, headers ...*zip.FileHeader) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, h := range headers {
		if _, err := w.CreateRaw(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// storedZip has files that are not compressed: names and contents.
func storedZip(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: files[i], Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// endsWithin has a stored archive whose end says that its comment goes up to the end of all.
func endsWithin(t testing.TB, inner string) string {
	t.Helper()
	outer := storedZip(t, "a.zip", inner)
	at := strings.Index(outer, "PK\x05\x06") + zipEnd
	comment := binary.LittleEndian.AppendUint16(nil, uint16(len(outer)-at))
	return outer[:at-2] + string(comment) + outer[at:]
}

// unicodePath is Info-ZIP's extra field of another name.
func unicodePath(name string) []byte {
	b := binary.LittleEndian.AppendUint16(nil, zipExtraUnicode)
	b = binary.LittleEndian.AppendUint16(b, uint16(5+len(name)))
	return append(append(b, 1, 0, 0, 0, 0), name...)
}
