package load

import (
	"fmt"
	"strings"
)

// text makes a message of about size octets (never less than its header) as it
// goes over the wire after DATA: lines ended by CRLF, a dot doubled where it
// begins one, and the final dot.
func text(from, to string, size int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nSubject: load\r\nMessage-ID: <load@%s>\r\n", from, to, domain(from))
	b.WriteString("Date: Mon, 02 Jan 2006 15:04:05 -0700\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
	b.Grow(size)
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,"
	for i := 0; b.Len() < size; i++ {
		if i%64 == 63 {
			b.WriteString("..a line that begins with a dot\r\n")
			continue
		}
		k := i % (len(alphabet) - 1)
		fmt.Fprintf(&b, "%8d %s%s\r\n", i, alphabet[k+1:], alphabet[:k+1])
	}
	b.WriteString(".\r\n")
	return []byte(b.String())
}

func domain(address string) string {
	_, d, _ := strings.Cut(address, "@")
	return d
}
