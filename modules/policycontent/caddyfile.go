package policycontent

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
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
	settings := []conf.Setting{
		conf.Lists("require_headers", &c.RequireHeaders),
		conf.Lists("forbid_headers", &c.ForbidHeaders),
		conf.Lists("allow_headers", &c.AllowHeaders),
		conf.Each("header", c.headerBlock),
		conf.Func("parts", c.partsBlock),
		either("media_types", &c.AllowMediaTypes, &c.ForbidMediaTypes),
		either("file_names", &c.AllowFileNames, &c.ForbidFileNames),
		either("archived_names", &c.AllowArchivedNames, nil),
		conf.Count("max_parts", &c.MaxParts),
		conf.Count("max_depth", &c.MaxDepth),
		conf.Size("max_part_size", &c.MaxPartSize),
		conf.Lists("charsets", &c.Charsets),
		conf.Lists("transfer_encodings", &c.TransferEncodings),
		conf.Func("well_formed_xml", func(d *caddyfile.Dispenser) error {
			if c.WellFormedXML = d.RemainingArgs(); len(c.WellFormedXML) == 0 {
				c.WellFormedXML = usualXML
			}
			return nil
		}),
		conf.Lists("smime", &c.SMIME),
		either("defects", &c.AllowDefects, nil),
	}
	if slices.Contains(conf.Names(settings), c.Name) { // else it would name the flow, and nothing would be checked
		return d.Errf("%s is a setting, where the name of the flow is expected; settings go in a block: content { %s ... }", c.Name, c.Name)
	}
	return conf.Block(d, settings...)
}

// usualXML are the media types of XML (RFC 7303).
var usualXML = []string{"application/xml", "text/xml", "*/*+xml"}

func (c *Content) headerBlock(d *caddyfile.Dispenser) error {
	var r HeaderRule
	if !d.Args(&r.Name) {
		return d.Err("header takes the name of one header field, and a block")
	}
	err := conf.Block(d,
		conf.Count("max_count", &r.MaxCount),
		conf.Count("max_length", &r.MaxLength),
		conf.Text("match", &r.Match),
	)
	c.Headers = append(c.Headers, r)
	return err
}

func (c *Content) partsBlock(d *caddyfile.Dispenser) error {
	return conf.Lines(d, func(d *caddyfile.Dispenser) (bool, error) {
		r := PartRule{Type: d.Val()}
		if d.NextArg() {
			r.Count = d.Val()
			if _, _, err := conf.ParseRange(r.Count); err != nil {
				return true, d.Errf("parts: %s: %w", r.Type, err)
			}
		}
		if slices.ContainsFunc(c.Parts, func(p PartRule) bool { return strings.EqualFold(p.Type, r.Type) }) {
			return true, d.Errf("parts: %s is specified twice", r.Type)
		}
		if d.NextArg() {
			return true, d.Errf("parts: unexpected %q; each line has a media type and a count, such as text/plain 0-1", d.Val())
		}
		c.Parts = append(c.Parts, r)
		return true, nil
	})
}

func some(d *caddyfile.Dispenser, name string, into *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes one or more values", name)
	}
	if err := conf.NoEmpty(args...); err != nil {
		return d.Errf("%s: %w", name, err)
	}
	*into = append(*into, args...)
	return nil
}

// either appends the values behind allow or forbid to one of the lists; a list that is nil does not exist.
func either(name string, allow, forbid *[]string) conf.Setting {
	return conf.Each(name, func(d *caddyfile.Dispenser) error {
		word := ""
		if d.NextArg() {
			word = d.Val()
		}
		switch {
		case word == "allow":
			return some(d, name+" allow", allow)
		case word == "forbid" && forbid != nil:
			return some(d, name+" forbid", forbid)
		case forbid == nil:
			return d.Errf("%s takes allow and what is allowed, not %q", name, word)
		}
		return d.Errf("%s takes allow or forbid, not %q", name, word)
	})
}
