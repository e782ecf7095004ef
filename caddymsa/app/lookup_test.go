package app

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// fakeFacet can be looked up, as the matchers of domains and users can.
type fakeFacet struct {
	facet    caddymsa.Facet
	values   []string
	patterns []mailaddr.DomainPattern
}

func newFakeFacet(t testing.TB, facet caddymsa.Facet, values ...string) *fakeFacet {
	f := &fakeFacet{facet: facet, values: values}
	for _, v := range values {
		if facet == caddymsa.FacetRemoteIP {
			break
		}
		p, err := mailaddr.ParseDomainPattern(v)
		if err != nil {
			t.Fatal(err)
		}
		f.patterns = append(f.patterns, p)
	}
	return f
}

func (f *fakeFacet) Facet() (caddymsa.Facet, []string) {
	if slices.Contains(f.values, "*") {
		return f.facet, nil
	}
	return f.facet, f.values
}

func (f *fakeFacet) Moment() caddymsa.Moment {
	if f.facet == caddymsa.FacetRecipientDomain {
		return caddymsa.MomentRecipient
	}
	return caddymsa.MomentSender
}

func (f *fakeFacet) Match(e *queue.Entry, r *queue.Recipient) (bool, error) {
	if f.facet == caddymsa.FacetUser {
		return slices.Contains(f.values, strings.ToLower(e.User)), nil
	}
	if f.facet == caddymsa.FacetRemoteIP {
		ip, err := netip.ParseAddr(e.RemoteIP)
		return err == nil && slices.ContainsFunc(f.values, func(v string) bool { return netip.MustParsePrefix(v).Contains(ip) }), nil
	}
	path := e.Sender
	if f.facet == caddymsa.FacetRecipientDomain {
		path = r.Complete()
	}
	domain := mailaddr.DomainOf(path)
	return slices.ContainsFunc(f.patterns, func(p mailaddr.DomainPattern) bool { return p.Match(domain) }), nil
}

// A lookup leaves out nothing that matches, and asks in order: whatever the matchers, the same
// policies run about the same recipients as when each is asked.
func TestLookup(t *testing.T) {
	domains := []string{"a.example", "b.a.example", "example", "c.example", "[192.0.2.1]"}
	values := append([]string{"*", "*.a.example", "*.example"}, domains...)
	paths := []string{"x@A.example", "x@b.a.example", "x@c.example", "x@[192.0.2.1]", "", "Postmaster", "x@z.c.example", "b"}
	networks := []string{"192.0.2.0/24", "192.0.2.1/32", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1/128", "::/0", "198.51.100.0/24"}
	addresses := []string{"192.0.2.1", "192.0.2.9", "198.51.100.1", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1", "fe80::1%eth0", ""}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	matcher := func() caddymsa.Matcher {
		switch random.IntN(6) {
		case 0:
			return newFakeFacet(t, caddymsa.FacetUser, pick([]string{"alice", "bob"}))
		case 1:
			return newFakeFacet(t, caddymsa.FacetSenderDomain, pick(values), pick(values))
		case 2:
			return fakeMatcher{moment: caddymsa.MomentSender, yes: random.IntN(2) == 0}
		case 4:
			return newFakeFacet(t, caddymsa.FacetRemoteIP, pick(networks), pick(networks))
		case 3:
			return contentMatcher{fakeMatcher{moment: caddymsa.MomentMessage, yes: true}}
		default:
			return newFakeFacet(t, caddymsa.FacetRecipientDomain, pick(values), pick(values))
		}
	}
	for range 3000 {
		var asked, want []string
		var all []*PolicyConfig
		for i := range random.IntN(12) {
			var sets matcherSets
			for range random.IntN(3) {
				var set []caddymsa.Matcher
				for range 1 + random.IntN(2) {
					set = append(set, matcher())
				}
				sets = append(sets, set)
			}
			all = append(all, &PolicyConfig{name: fmt.Sprint(i), matchers: sets, module: notingPolicy{name: fmt.Sprint(i), asked: &asked}})
		}
		s := &caddymsa.Submission{Entry: &queue.Entry{User: pick([]string{"Alice", "bob", ""}), Sender: pick(paths), RemoteIP: pick(addresses)}}
		for range 1 + random.IntN(4) {
			s.Entry.Recipients = append(s.Entry.Recipients, queue.Recipient{Address: pick(paths)})
		}
		ps, ctx, m := newPolicies(all), context.Background(), caddymsa.NewMessage(20, nil)
		var routes lookup
		for i, p := range all {
			routes.add(i, p.matchers)
		}
		run := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		run(ps.sender(ctx, s))
		for i := range s.Entry.Recipients {
			run(ps.recipient(ctx, s, &s.Entry.Recipients[i]))
		}
		run(ps.message(ctx, s, m))
		got := asked
		asked = nil
		for _, p := range all {
			if p.matchers.moment() <= caddymsa.MomentSender {
				run(p.sender(ctx, s, nil, nil))
			}
		}
		for i := range s.Entry.Recipients {
			r := &s.Entry.Recipients[i]
			for _, p := range all {
				if p.matchers.moment() == caddymsa.MomentRecipient {
					run(p.sender(ctx, s, r, nil))
				}
				if p.matchers.moment() <= caddymsa.MomentRecipient {
					run(p.recipient(ctx, s, r, nil))
				}
			}
		}
		var everybody []*queue.Recipient
		for i := range s.Entry.Recipients {
			everybody = append(everybody, &s.Entry.Recipients[i])
		}
		for _, p := range all {
			if p.matchers.moment() == caddymsa.MomentMessage {
				run(p.late(ctx, s, m, everybody))
			}
			run(p.message(ctx, s, m, everybody))
		}
		if want = asked; !slices.Equal(got, want) {
			t.Fatalf("asked %q, want %q", got, want)
		}
		for _, r := range everybody { // what is found is a part of all, in order, with all that match
			var buf [8][]int32
			found, last := routes.all(buf[:0], s.Entry, r), -1
			have := make(map[int]bool)
			for n, more := found.next(); more; n, more = found.next() {
				if n <= last {
					t.Fatalf("%d after %d", n, last)
				}
				last, have[n] = n, true
			}
			for i, p := range all {
				if p.matchers.moment() == caddymsa.MomentMessage {
					continue
				}
				if ok, _ := p.matchers.matchEntry(s.Entry, r); ok && !have[i] {
					t.Fatalf("%d is not found for %+v", i, r)
				}
			}
		}
	}
}

// notingPolicy notes what it is asked, and about whom.
type notingPolicy struct {
	name  string
	asked *[]string
}

func (p notingPolicy) note(what string) error {
	*p.asked = append(*p.asked, p.name+" "+what)
	return nil
}

func (p notingPolicy) CheckSender(context.Context, *caddymsa.Submission) error {
	return p.note("sender")
}

func (p notingPolicy) CheckRecipient(_ context.Context, _ *caddymsa.Submission, r *queue.Recipient) error {
	return p.note(r.Address)
}

func (p notingPolicy) CheckMessage(context.Context, *caddymsa.Submission, *caddymsa.Message) error {
	return p.note("message")
}

// What a recipient costs where there are many routes, each for a domain of its own.
func BenchmarkManyRoutes(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			srv := new(Server)
			for i := range n {
				r := &RouteConfig{matchers: matcherSets{{newFakeFacet(b, caddymsa.FacetRecipientDomain, fmt.Sprintf("d%d.example", i))}}}
				srv.Routes = append(srv.Routes, r)
				srv.routes.add(i, r.matchers)
			}
			e, r := new(queue.Entry), &queue.Recipient{Address: fmt.Sprintf("bob@d%d.example", n-1)}
			b.ReportAllocs()
			for b.Loop() {
				if route, err := srv.route(e, r); err != nil || route != srv.Routes[n-1] {
					b.Fatal(route, err)
				}
			}
		})
	}
}

// What the chain costs a message to 1 and to 1,000 recipients where there are many policies.
func BenchmarkManyPolicies(b *testing.B) {
	for _, rcpts := range []int{1, 1000} {
		for _, n := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%d recipients/%d policies", rcpts, n), func(b *testing.B) {
				var all []*PolicyConfig
				for i := range n {
					all = append(all, &PolicyConfig{name: "fake", module: countingPolicy{}, matchers: matcherSets{{newFakeFacet(b, caddymsa.FacetRecipientDomain, fmt.Sprintf("d%d.example", i))}}})
				}
				ps := newPolicies(all)
				s := &caddymsa.Submission{Entry: &queue.Entry{Sender: "a@example.org"}}
				for i := range rcpts {
					s.Entry.Recipients = append(s.Entry.Recipients, queue.Recipient{Address: fmt.Sprintf("bob@d%d.example", i%n)})
				}
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					_ = ps.sender(ctx, s)
					for i := range s.Entry.Recipients {
						_ = ps.recipient(ctx, s, &s.Entry.Recipients[i])
					}
					_ = ps.message(ctx, s, &caddymsa.Message{})
				}
			})
		}
	}
}

type countingPolicy struct{}

func (countingPolicy) CheckRecipient(context.Context, *caddymsa.Submission, *queue.Recipient) error {
	return nil
}

func (countingPolicy) CheckMessage(context.Context, *caddymsa.Submission, *caddymsa.Message) error {
	return nil
}
