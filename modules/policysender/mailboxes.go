package policysender

import (
	"io"
	"mime"
	"net/mail"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// maxFields bounds the octets of one name's fields that are parsed for mailboxes.
const maxFields = 64 << 10

// parser parses mailboxes (RFC 5322 section 3.4, groups among them). What charset a display
// name is in does not matter here.
var parser = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
}}

// mailboxes returns those of all fields of the name. A field without any, such as an empty
// group, is refused: what a reader shows for it is not known to be the client's.
func mailboxes(header message.Header, name string) (all []mailaddr.Address, err error) {
	total := 0
	for _, value := range header.Values(name) {
		if total += len(value); total > maxFields {
			return nil, refuse(name, nil, name+" header field is too long")
		}
		list, err := parser.ParseList(value)
		if err != nil {
			return nil, refuse(name, err, name+" header field cannot be understood")
		}
		if len(list) == 0 {
			return nil, refuse(name, nil, name+" header field names no mailbox")
		}
		for _, mb := range list {
			at := strings.LastIndexByte(mb.Address, '@')
			all = append(all, mailaddr.Address{Exact: mb.Address, Local: mb.Address[:max(at, 0)], Domain: mb.Address[at+1:]})
		}
	}
	return all, nil
}
