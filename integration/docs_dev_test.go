package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The map in docs/dev names every package of caddymsa and only those, and every kind of module.
func TestMapOfFolders(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/dev/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	begin, end := strings.Index(text, "| package |"), strings.Index(text, "## Import rules")
	if begin < 0 || end < begin {
		t.Fatal("the table of packages is gone")
	}
	named := make(map[string]bool)
	for row := range strings.Lines(text[begin:end]) {
		cells := strings.SplitN(row, "|", 3)
		if len(cells) < 3 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z/]+)`").FindAllStringSubmatch(cells[1], -1) {
			named[m[1]] = true
		}
	}
	for pkg := range dependencies(t, "caddymsa/...") {
		name := strings.TrimPrefix(strings.TrimPrefix(pkg, modulePath+"/caddymsa"), "/")
		if name == "" || name == "app" || strings.HasPrefix(name, "app/") {
			continue // above the table
		}
		if !named[name] {
			t.Errorf("the map does not name caddymsa/%s", name)
		}
		delete(named, name)
	}
	for name := range named {
		t.Errorf("the map names caddymsa/%s, which is not there", name)
	}
	for pkg := range dependencies(t, "modules/...") {
		kind := regexp.MustCompile(`^(auth|matchers|policy|map|sink|notify|spool|cmd|log|http|layer4)`).FindString(strings.Split(pkg, "/")[4])
		if kind == "" || !strings.Contains(text, "`"+kind) {
			t.Errorf("the map does not name the kind of module that %s is", pkg)
		}
	}
}

// What comments cite is there: pages of docs/dev, decisions by number, rows of the requirements.
func TestCitations(t *testing.T) {
	t.Parallel()
	architecture, requirements := read(t, "../docs/dev/architecture.md"), read(t, "../docs/dev/requirements.md")
	page := regexp.MustCompile(`docs/dev/[a-z]+\.md`)
	decision := regexp.MustCompile(`architecture\.md,? decision (\d+)`)
	row := regexp.MustCompile(`\bR-\d\d\b`)
	elsewhere := regexp.MustCompile(`\b(DESIGN|REQUIREMENTS|SMTP-NOTES|CADDY-NOTES|STYLE)(\.md| decision| section)`)
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(path); d.IsDir() || (ext != ".go" && ext != ".smtp" && ext != ".md") || strings.HasSuffix(path, "docs_dev_test.go") {
			return nil
		}
		text := read(t, path)
		for _, m := range page.FindAllString(text, -1) {
			if _, err := os.Stat("../" + m); err != nil {
				t.Errorf("%s cites %s, which is not there", path, m)
			}
		}
		for _, m := range decision.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(architecture, "\n"+m[1]+". **") {
				t.Errorf("%s cites decision %s, which is not there", path, m[1])
			}
		}
		for _, m := range row.FindAllString(text, -1) {
			if !strings.Contains(requirements, "\n| "+m+" |") {
				t.Errorf("%s cites %s, which is not there", path, m)
			}
		}
		if m := elsewhere.FindString(text); m != "" {
			t.Errorf("%s cites %q, a page that is not in the repository", path, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
