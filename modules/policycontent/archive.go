package policycontent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	if called := misnamed(p, kind); called != "" {
		return cannotList("it is called %s, and is %s", called, kind)
	}
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

// asNotListed leaves what we said ourselves, and that the time is over.
func asNotListed(err error, why string) error {
	if _, ok := errors.AsType[*notListed](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return cannotList("%s", why)
}
