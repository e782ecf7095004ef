package policycontent

import "slices"

// startTag reads a start tag [40] or an empty element's [44].
func (x *xmlDocument) startTag() {
	name := string(x.readName("an element"))
	switch {
	case x.err != nil:
		return
	case len(x.open) == 0 && x.root:
		x.fail("there is a second root element")
	case len(x.open) == maxXMLDepth:
		x.fail("elements are nested more than %d deep, which is not supported", maxXMLDepth)
	}
	x.root = true
	x.open = append(x.open, name)
	x.attributes()
	if x.c == '/' {
		x.next()
		x.open = x.open[:len(x.open)-1]
	}
	x.expect(">", "a tag")
}

// attributes reads attributes [41], none of which is there twice.
func (x *xmlDocument) attributes() {
	var seen names
	for x.space() && x.c != '/' && x.c != '>' && x.c != atEnd {
		name := string(x.readName("an attribute"))
		if seen.has(name) {
			x.fail("attribute %s is specified twice", name)
		}
		if seen.add(name); seen.octets > maxXMLNames {
			x.fail("a tag's attributes have names of more than %d octets, which is not supported", maxXMLNames)
		}
		x.equals()
		x.quoted(func() {
			switch x.c {
			case '<':
				x.fail("there is < in the value of an attribute")
			case '&':
				x.reference()
			default:
				x.next()
			}
		})
	}
}

// names are those of a tag's attributes: a few in a list, and many in a set.
type names struct {
	list   []string
	set    map[string]struct{}
	octets int
}

func (n *names) has(name string) bool {
	if n.set == nil {
		return slices.Contains(n.list, name)
	}
	_, ok := n.set[name]
	return ok
}

func (n *names) add(name string) {
	const few = 8
	n.octets += len(name)
	if n.set == nil {
		if n.list = append(n.list, name); len(n.list) <= few {
			return
		}
		n.set = make(map[string]struct{})
		for _, name := range n.list {
			n.set[name] = struct{}{}
		}
	}
	n.set[name] = struct{}{}
}

// equals reads an equals sign [25].
func (x *xmlDocument) equals() {
	x.space()
	x.expect("=", "an attribute")
	x.space()
}

// quoted reads what stands in quotes, by calling each for it.
func (x *xmlDocument) quoted(each func()) {
	quote := x.c
	if quote != '"' && quote != '\'' {
		x.fail("expected a value in quotes")
		return
	}
	x.next()
	for x.c != quote {
		if x.c == atEnd {
			x.fail("a value in quotes does not end")
			return
		}
		each()
	}
	x.next()
}

// endTag reads an end tag [42].
func (x *xmlDocument) endTag() {
	name := x.readName("an element")
	n := len(x.open) - 1
	switch {
	case x.err != nil:
		return
	case n < 0:
		x.fail("</%s> closes nothing", name)
		return
	case x.open[n] != string(name):
		x.fail("element <%s> closed by </%s>", x.open[n], name)
		return
	}
	x.open = x.open[:n]
	x.space()
	x.expect(">", "a tag")
}
