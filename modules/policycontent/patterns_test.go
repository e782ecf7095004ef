package policycontent

import "testing"

// A name that ends in a slash or a dot is still one.
func TestFilesBeforeSlashes(t *testing.T) {
	t.Parallel()
	l := lists{forbid: compile([]string{"*.exe"})}
	for _, name := range []string{"a.exe/", `a.exe\`, "a.exe./", "d/a.exe/.", `C:\d\a.exe. `} {
		if l.admitFile(name) {
			t.Errorf("%q is admitted", name)
		}
	}
}

// issue 10.30: Info-ZIP's zip -r and tar list directories, which are not files.
func TestDirectoriesInArchives(t *testing.T) {
	t.Parallel()
	l := lists{allow: compile([]string{"*.xml"}), forbid: compile([]string{"*.exe"})}
	for name, want := range map[string]bool{"d/": true, "./": true, "d/e/": true, "d/a.xml": true, "d/a.txt": false, "evil.exe/": false, "d/evil.exe//": false, "": false} {
		if got := l.admitEntry(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
