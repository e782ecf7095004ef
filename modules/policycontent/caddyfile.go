package policycontent

import (
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	policy content [<flow>] {
//		require_headers <names...>
//		forbid_headers  <names...>
//		allow_headers   <names...>
//		header <name> {
//			max_count  <n>
//			max_length <n>
//			match      <regular expression>
//		}
//		parts {
//			<media type> [<n> | <n>-<n> | <n>-]
//		}
//		media_types        allow|forbid <media types...>
//		file_names         allow|forbid <patterns...>
//		archived_names     allow <patterns...>
//		max_parts          <n>
//		max_depth          <n>
//		max_part_size      <size>
//		charsets           <names...>
//		transfer_encodings <names...>
//		well_formed_xml    [<media types...>]
//		smime              signed|encrypted...
//		defects            allow <names...>
//	}
func (c *Content) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	if d.NextArg() {
		c.Name = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		if err := c.setting(d, d.Val()); err != nil {
			return err
		}
	}
	return nil
}

// usualXML are the media types of XML (RFC 7303).
var usualXML = []string{"application/xml", "text/xml", "*/*+xml"}

func (c *Content) setting(d *caddyfile.Dispenser, name string) error {
	words := map[string]*[]string{
		"require_headers": &c.RequireHeaders, "forbid_headers": &c.ForbidHeaders, "allow_headers": &c.AllowHeaders,
		"charsets": &c.Charsets, "transfer_encodings": &c.TransferEncodings, "smime": &c.SMIME,
	}
	switch name {
	case "header":
		return c.headerBlock(d)
	case "parts":
		return c.partsBlock(d)
	case "media_types":
		return either(d, &c.AllowMediaTypes, &c.ForbidMediaTypes)
	case "file_names":
		return either(d, &c.AllowFileNames, &c.ForbidFileNames)
	case "archived_names":
		return either(d, &c.AllowArchivedNames, nil)
	case "defects":
		return either(d, &c.AllowDefects, nil)
	case "max_parts":
		return number(d, &c.MaxParts)
	case "max_depth":
		return number(d, &c.MaxDepth)
	case "max_part_size":
		return size(d, &c.MaxPartSize)
	case "well_formed_xml":
		types := d.RemainingArgs()
		if len(types) == 0 {
			types = usualXML
		}
		c.WellFormedXML = append(c.WellFormedXML, types...)
		return nil
	}
	if words[name] == nil {
		return d.Errf("unknown setting %q of content; there are require_headers, forbid_headers, allow_headers, header, parts, media_types, file_names, archived_names, max_parts, max_depth, max_part_size, charsets, transfer_encodings, well_formed_xml, smime and defects", name)
	}
	return some(d, words[name])
}

func (c *Content) headerBlock(d *caddyfile.Dispenser) error {
	var r HeaderRule
	if !d.Args(&r.Name) || d.NextArg() {
		return d.Err("header takes the name of one header field, and a block")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch setting := d.Val(); setting {
		case "max_count":
			err = number(d, &r.MaxCount)
		case "max_length":
			err = number(d, &r.MaxLength)
		case "match":
			if !d.AllArgs(&r.Match) {
				err = d.Err("match takes one regular expression; put it in backquotes if it has spaces")
			}
		default:
			err = d.Errf("unknown setting %q of header; there are max_count, max_length and match", setting)
		}
		if err != nil {
			return err
		}
	}
	c.Headers = append(c.Headers, r)
	return nil
}

func (c *Content) partsBlock(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("parts takes a block, with a media type and a count a line")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		r := PartRule{Type: d.Val()}
		if d.NextArg() {
			r.Count = d.Val()
		}
		if d.NextArg() {
			return d.ArgErr()
		}
		c.Parts = append(c.Parts, r)
	}
	return nil
}

// either appends the words behind allow or forbid to one of the lists; a list that is nil is not there.
func either(d *caddyfile.Dispenser, allow, forbid *[]string) error {
	setting := d.Val()
	switch {
	case !d.NextArg():
		return d.ArgErr()
	case d.Val() == "allow":
		return some(d, allow)
	case d.Val() == "forbid" && forbid != nil:
		return some(d, forbid)
	case forbid == nil:
		return d.Errf("%s takes allow and what is allowed, not %q", setting, d.Val())
	}
	return d.Errf("%s takes allow or forbid, not %q", setting, d.Val())
}

func some(d *caddyfile.Dispenser, into *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*into = append(*into, args...)
	return nil
}

func number(d *caddyfile.Dispenser, into *int) error {
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 {
		return d.Errf("%q is no number from 1 on", arg)
	}
	*into = n
	return nil
}

func size(d *caddyfile.Dispenser, into *int64) error {
	var arg string
	if !d.AllArgs(&arg) {
		return d.ArgErr()
	}
	n, err := humanize.ParseBytes(arg)
	if err != nil || n == 0 || n > math.MaxInt32 {
		return d.Errf("%q is no size; write it as in 10MiB or 4096", arg)
	}
	*into = int64(n)
	return nil
}
