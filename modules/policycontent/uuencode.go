package policycontent

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// textFiles are the lines before a file that some mail readers show as an attachment of the text that it is in: "begin 644 a.txt" (POSIX,
// uuencode), and "=ybegin line=128 size=123 name=a.txt" (yEnc).
var textFiles = []struct {
	begin *regexp.Regexp
	how   string
}{
	{regexp.MustCompile(`^begin(?:-base64)?[ \t]+[0-7]{3,4}[ \t]+(.*[^ \t\r\n])`), "uuencoded"},
	{regexp.MustCompile(`^=ybegin[ \t](?:.*[ \t])?name=(.*[^ \t\r\n])`), "in yEnc"},
}

// checkText judges the names of the files that are encoded in a text.
func (c *Content) checkText(p *message.Part, r *bufio.Reader) error {
	for start := true; ; {
		line, err := r.ReadSlice('\n')
		for _, f := range textFiles {
			if !start {
				break
			}
			m := f.begin.FindSubmatch(line)
			if m == nil {
				continue
			}
			if name := strings.ToValidUTF8(string(m[1]), "\uFFFD"); !c.names.admitFile(name) {
				return c.forbidden(ruleNames, "%s has a file in it, %s, whose name is not allowed: %s", c.part(p), f.how, short(name))
			}
		}
		start = err == nil
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}
