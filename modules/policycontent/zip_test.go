package policycontent

import (
	"archive/zip"
	"bytes"
	"errors"
	"strings"
	"testing"
)

// Info-ZIP and Python write what is listed.
func TestZip64(t *testing.T) {
	h := &zip.FileHeader{Name: "a.exe", Method: 8, UncompressedSize64: 1 << 33, CompressedSize64: 0}
	octets := zipWith(t, h)
	seen := ""
	err := listZip(strings.NewReader(octets), int64(len(octets)), func(name string) error { seen = name; return nil })
	if seen != "" || err == nil || !strings.Contains(err.Error(), "it says that it holds") {
		t.Errorf("%q, %v", seen, err)
	}
	names := func(octets string) (names []string, err error) {
		err = listZip(strings.NewReader(octets), int64(len(octets)), func(name string) error { names = append(names, name); return nil })
		return names, err
	}
	// An end of directory of 64 bits beside a small one.
	good := zipOf(t, "a.txt", "b.txt")
	for _, small := range []func(end []byte){
		func(end []byte) { copy(end[8:20], bytes.Repeat([]byte{0xFF}, 12)) }, // all of it is said in 64 bits
		func(end []byte) { copy(end[16:20], "\xff\xff\xff\xff") },
		func([]byte) {}, // and in both
	} {
		if names, err := names(withEnd64(good, "", small)); err != nil || len(names) != 2 {
			t.Errorf("%q, %v", names, err)
		}
	}
	// Readers differ in which they believe.
	inner := zipOf(t, "c.txt")
	for _, octets := range []string{
		withEnd64(good, "something", func([]byte) {}),
		withEnd64(storedZip(t, "a.zip", inner), "", func(end []byte) { // the directory of what is stored there
			copy(end[12:16], inner[len(inner)-10:])
			le.PutUint32(end[16:], uint32(zipLocal+len("a.zip")+strings.Index(inner, "PK\x01\x02")))
		}),
		withEnd64(good, "", func(end []byte) { le.PutUint16(end[10:], 1) }),
	} {
		if names, err := names(octets); err == nil || err.Error() != "it has several directories, or something behind the last" {
			t.Errorf("%q, %v", names, err)
		}
	}
}

// withEnd64 is an archive with an end of directory of 64 bits too, and something behind that.
func withEnd64(octets, behind string, change func(end []byte)) string {
	at := strings.LastIndex(octets, "PK\x05\x06")
	end := []byte(octets[at:])
	end64 := make([]byte, zipEnd64)
	le.PutUint32(end64, zipEnd64Mark)
	le.PutUint64(end64[4:], uint64(zipEnd64-12+len(behind)))
	le.PutUint64(end64[24:], uint64(le.Uint16(end[8:])))
	le.PutUint64(end64[32:], uint64(le.Uint16(end[10:])))
	le.PutUint64(end64[40:], uint64(le.Uint32(end[12:])))
	le.PutUint64(end64[48:], uint64(le.Uint32(end[16:])))
	locator := make([]byte, zipLocator64)
	le.PutUint32(locator, zipLocatorMark)
	le.PutUint64(locator[8:], uint64(at))
	change(end)
	return octets[:at] + string(end64) + behind + string(locator) + string(end)
}

// What our reader lists is what the library lists, or it lists nothing.
func FuzzZip(f *testing.F) {
	for _, s := range []string{zipOf(f, "a.txt", "b"), zipOf(f), zipWith(f, &zip.FileHeader{Name: "b\x80", Flags: 1, Extra: unicodePath("c")})} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		var ours []string
		err := listZip(bytes.NewReader(octets), int64(len(octets)), func(name string) error { ours = append(ours, name); return nil })
		if err != nil {
			if _, ok := errors.AsType[*notListed](err); !ok {
				t.Fatal(err)
			}
			return
		}
		r, err := zip.NewReader(bytes.NewReader(octets), int64(len(octets)))
		if err != nil {
			return
		}
		for _, theirs := range r.File {
			found := false
			for _, name := range ours {
				found = found || name == theirs.Name || name == zipName([]byte(theirs.Name), false)
			}
			if !found {
				t.Fatalf("%q is not among %q", theirs.Name, ours)
			}
		}
	})
}
