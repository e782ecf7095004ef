package app

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// lookup finds which of many routes or policies can match at all, so that a thousand of them
// are not asked one by one. It only leaves out: what it finds is asked as ever, in order.
type lookup struct {
	always []int32 // those that must be asked each time
	facets [caddymsa.Facets]map[string][]int32
	bits   []int // lengths of the networks in FacetRemoteIP
}

// add makes the element of a number, which is higher than all before, known by its matchers.
func (l *lookup) add(number int, ms matcherSets) {
	n := int32(number)
	var keys [caddymsa.Facets][]string
	for _, set := range ms {
		facet, values := narrowest(set)
		if values == nil {
			ms = nil
			break
		}
		keys[facet] = append(keys[facet], values...)
	}
	if len(ms) == 0 {
		l.always = append(l.always, n)
		return
	}
	for facet, values := range keys {
		for _, value := range values {
			m := l.facets[facet]
			if m == nil {
				m = make(map[string][]int32)
				l.facets[facet] = m
			}
			if have := m[value]; len(have) == 0 || have[len(have)-1] != n {
				m[value] = append(have, n)
			}
			if p, err := netip.ParsePrefix(value); caddymsa.Facet(facet) == caddymsa.FacetRemoteIP && err == nil && !slices.Contains(l.bits, p.Bits()) {
				l.bits = append(l.bits, p.Bits())
			}
		}
	}
}

// narrowest is what a set of matchers, all of which must match, is looked up by; no values if none can be.
func narrowest(set []caddymsa.Matcher) (facet caddymsa.Facet, values []string) {
	for _, m := range set {
		if m, ok := m.(caddymsa.FacetMatcher); ok {
			if f, v := m.Facet(); len(v) > 0 && (values == nil || len(v) < len(values)) {
				facet, values = f, v
			}
		}
	}
	return facet, values
}

// numbers are those that can match, in lists in ascending order, which may have one in common.
type numbers [][]int32

// all are those to be asked about an entry and, once there is one, a recipient. They are appended to buf.
func (l *lookup) all(buf numbers, e *queue.Entry, r *queue.Recipient) numbers {
	if len(l.always) > 0 {
		buf = append(buf, l.always)
	}
	return l.some(buf, e, r)
}

// some are all but those that are asked always.
func (l *lookup) some(buf numbers, e *queue.Entry, r *queue.Recipient) numbers {
	if r != nil {
		buf = appendDomain(buf, l.facets[caddymsa.FacetRecipientDomain], r.Complete())
	}
	buf = appendDomain(buf, l.facets[caddymsa.FacetSenderDomain], e.Sender)
	buf = l.appendNetworks(buf, e.RemoteIP)
	return appendValue(buf, l.facets[caddymsa.FacetUser], e.User, names.Fold)
}

// appendNetworks looks for the networks that an address is in.
func (l *lookup) appendNetworks(buf numbers, address string) numbers {
	m := l.facets[caddymsa.FacetRemoteIP]
	if len(m) == 0 {
		return buf
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return buf
	}
	var key [64]byte
	for _, bits := range l.bits {
		network, err := ip.Prefix(bits)
		if err != nil {
			continue // of the other family
		}
		if list := m[string(network.AppendTo(key[:0]))]; len(list) > 0 {
			buf = append(buf, list)
		}
	}
	return buf
}

func appendValue(buf numbers, m map[string][]int32, value string, fold func(string) string) numbers {
	if len(m) == 0 {
		return buf
	}
	if list := m[fold(value)]; len(list) > 0 {
		buf = append(buf, list)
	}
	return buf
}

// appendDomain looks for the domain of a path, and for "*." and each domain that it is below.
func appendDomain(buf numbers, m map[string][]int32, path string) numbers {
	if len(m) == 0 {
		return buf
	}
	domain := mailaddr.DomainOf(path)
	if domain == "" {
		return buf
	}
	if list := m[domain]; len(list) > 0 {
		buf = append(buf, list)
	}
	if domain[0] == '[' {
		return buf
	}
	var key [2 + 255]byte
	for _, parent, found := strings.Cut(domain, "."); found; _, parent, found = strings.Cut(parent, ".") {
		if list := m[string(append(append(key[:0], "*."...), parent...))]; len(list) > 0 {
			buf = append(buf, list)
		}
	}
	return buf
}

// next takes away the lowest number; false when there is none left.
func (ns numbers) next() (int, bool) {
	lowest := int32(-1)
	for _, list := range ns {
		if len(list) > 0 && (lowest < 0 || list[0] < lowest) {
			lowest = list[0]
		}
	}
	if lowest < 0 {
		return 0, false
	}
	for i, list := range ns {
		if len(list) > 0 && list[0] == lowest {
			ns[i] = list[1:]
		}
	}
	return int(lowest), true
}
