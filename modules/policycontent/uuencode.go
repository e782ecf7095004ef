package policycontent

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// uuBegin is the line before a uuencoded file, which some mail readers show as an attachment of the text
// that it is in: "begin 644 a.txt" (POSIX, uuencode).
var uuBegin = regexp.MustCompile(`^begin(?:-base64)?[ \t]+[0-7]{3,4}[ \t]+(.*[^ \t\r\n])`)

// checkText judges the names of the files that are uuencoded in a text.
func (c *Content) checkText(p *message.Part, r *bufio.Reader) error {
	for start := true; ; {
		line, err := r.ReadSlice('\n')
		if m := uuBegin.FindSubmatch(line); start && m != nil {
			name := strings.ToValidUTF8(string(m[1]), "\uFFFD")
			if !c.names.admitFile(name) {
				return c.forbidden(ruleNames, "%s has a file in it, uuencoded, whose name is not allowed: %s", c.part(p), short(name))
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
