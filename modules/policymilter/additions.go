package policymilter

import (
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

// additions are the fields that a milter adds to a header.
type additions struct {
	told   message.Header // what it was told
	fields message.Header
}

func (d *additions) add(name, value string) bool {
	text, ok := field(name, value)
	if ok {
		d.fields = append(d.fields, message.Field{Name: name, Raw: []byte(text)})
	}
	return ok
}

// change changes, or takes away, a field that the milter has added itself. The first of a name is 1. One that is not there is added, as
// Sendmail and Postfix do.
func (d *additions) change(name string, index int64, value string) bool {
	index -= int64(d.told.Count(name))
	if index <= 0 {
		return false
	}
	for i := range d.fields {
		if !d.fields[i].Is(name) {
			continue
		}
		if index--; index > 0 {
			continue
		}
		if value == "" {
			d.fields = slices.Delete(d.fields, i, i+1)
			return true
		}
		text, ok := field(name, value)
		if ok {
			d.fields[i].Raw = []byte(text)
		}
		return ok
	}
	return value == "" || d.add(name, value)
}
