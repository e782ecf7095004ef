package policycontent

import (
	"regexp"
	"strings"
)

// patterns are globs without regard to case: "*" is any characters, "?" is one. nil matches nothing.
type patterns []*regexp.Regexp

func compile(globs []string) patterns {
	var ps patterns
	for _, glob := range globs {
		text := regexp.QuoteMeta(glob)
		text = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(text)
		ps = append(ps, regexp.MustCompile(`(?is)\A`+text+`\z`))
	}
	return ps
}

func (ps patterns) match(s string) bool {
	for _, p := range ps {
		if p.MatchString(s) {
			return true
		}
	}
	return false
}

// lists are what is allowed, if anything is said of it, and what is forbidden.
type lists struct{ allow, forbid patterns }

func (l lists) admit(s string) bool {
	return !l.forbid.match(s) && (l.allow == nil || l.allow.match(s))
}

// admitFile judges a file name, and what is left of it on a system that takes away
// directories, and dots, spaces and slashes at the end.
func (l lists) admitFile(name string) bool {
	whole := strings.TrimRight(name, `. /\`)
	base := whole[strings.LastIndexAny(whole, `/\`)+1:]
	return !l.forbid.match(name) && !l.forbid.match(whole) && l.admit(base)
}

// admitEntry judges a name in an archive. That of a directory is not a file's: zip -r and tar list directories too, and nobody
// allows them by name. It may be forbidden.
func (l lists) admitEntry(name string) bool {
	dir := strings.TrimRight(name, "/")
	if file, _, found := strings.Cut(name[strings.LastIndexAny(name, `/\`)+1:], ":"); found && l.forbid.match(file) { // a stream of the file, on Windows
		return false
	}
	if dir == name {
		return l.admitFile(name)
	}
	return lists{forbid: l.forbid}.admitFile(dir)
}
