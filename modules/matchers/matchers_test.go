package matchers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
	"github.com/caddy-msa/caddy-msa/caddymsa/names"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

type matcher interface {
	caddymsa.Matcher
	caddyfile.Unmarshaler
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		m      matcher
		config string
		e      queue.Entry
		r      queue.Recipient
		want   bool
	}{
		{new(RecipientDomain), "recipient_domain example.org", queue.Entry{}, queue.Recipient{Address: "bob@EXAMPLE.org"}, true},
		{new(RecipientDomain), "recipient_domain example.org", queue.Entry{}, queue.Recipient{Address: "bob@a.example.org"}, false},
		{new(RecipientDomain), "recipient_domain *.example.org", queue.Entry{}, queue.Recipient{Address: "bob@a.example.org"}, true},
		{new(RecipientDomain), "recipient_domain bücher.example", queue.Entry{}, queue.Recipient{Address: "bob@xn--bcher-kva.example"}, true},
		{new(RecipientDomain), "recipient_domain example.net example.org", queue.Entry{}, queue.Recipient{Address: `"@example.com"@example.org`}, true},
		{new(RecipientDomain), "recipient_domain msa.example.org", queue.Entry{}, queue.Recipient{Address: "Postmaster", Route: "postmaster@msa.example.org"}, true},
		{new(SenderDomain), "sender_domain example.org", queue.Entry{Sender: "a@example.org"}, queue.Recipient{}, true},
		{new(SenderDomain), "sender_domain example.org", queue.Entry{}, queue.Recipient{}, false},
		{new(User), "user alice bob", queue.Entry{User: "bob"}, queue.Recipient{}, true},
		{new(User), "user alice", queue.Entry{User: "Alice"}, queue.Recipient{}, true}, // names fold
		{new(User), "user alice", queue.Entry{User: "alicia"}, queue.Recipient{}, false},
		{new(Attribute), "attribute plan gold platinum", queue.Entry{Attributes: map[string]string{"plan": "Gold"}}, queue.Recipient{}, true},
		{new(Attribute), "attribute plan gold {\n case exact\n}", queue.Entry{Attributes: map[string]string{"plan": "Gold"}}, queue.Recipient{}, false},
		{new(Attribute), "attribute groups staff", queue.Entry{Attributes: map[string]string{"groups": "mail, staff"}}, queue.Recipient{}, true},
		{new(Attribute), "attribute groups staff", queue.Entry{Attributes: map[string]string{"groups": "nostaff"}}, queue.Recipient{}, false},
		{new(Attribute), "attribute groups staff", queue.Entry{}, queue.Recipient{}, false},
		{new(Attribute), "attribute plan", queue.Entry{Attributes: map[string]string{"plan": "x"}}, queue.Recipient{}, true},
		{new(Attribute), "attribute plan", queue.Entry{Attributes: map[string]string{"plan": ""}}, queue.Recipient{}, false},
		{new(RemoteIP), "remote_ip 192.0.2.0/24 2001:db8::1", queue.Entry{RemoteIP: "192.0.2.7"}, queue.Recipient{}, true},
		{new(RemoteIP), "remote_ip 192.0.2.0/24 2001:db8::1", queue.Entry{RemoteIP: "2001:db8::1"}, queue.Recipient{}, true},
		{new(RemoteIP), "remote_ip 192.0.2.0/24", queue.Entry{RemoteIP: "198.51.100.1"}, queue.Recipient{}, false},
		{new(RemoteIP), "remote_ip 0.0.0.0/0", queue.Entry{}, queue.Recipient{}, false},
		{new(RemoteIP), "remote_ip fe80::/10", queue.Entry{RemoteIP: "fe80::1%eth0"}, queue.Recipient{}, true},
		{new(RemoteIP), "remote_ip fe80::1", queue.Entry{RemoteIP: "fe80::1%eth0"}, queue.Recipient{}, true},
		{new(RemoteIP), "remote_ip ::ffff:192.0.2.0/120", queue.Entry{RemoteIP: "192.0.2.7"}, queue.Recipient{}, true},
		{new(RemoteIP), "remote_ip ::ffff:192.0.2.7", queue.Entry{RemoteIP: "192.0.2.7"}, queue.Recipient{}, true},
	} {
		if err := tt.m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tt.config)); err != nil {
			t.Errorf("%s: %v", tt.config, err)
			continue
		}
		// Through JSON, as Caddy does it.
		b, err := json.Marshal(tt.m)
		if err == nil {
			err = json.Unmarshal(b, tt.m)
		}
		if p, ok := tt.m.(caddy.Provisioner); ok && err == nil {
			err = p.Provision(caddy.Context{})
		}
		if err != nil {
			t.Errorf("%s: %v", tt.config, err)
			continue
		}
		if got, err := tt.m.Match(&tt.e, &tt.r); got != tt.want || err != nil {
			t.Errorf("%s with %+v, %+v: %v, %v", tt.config, tt.e, tt.r, got, err)
		}
		if m, ok := tt.m.(caddymsa.FacetMatcher); ok && tt.want {
			facet, values := m.Facet()
			if !slices.ContainsFunc(values, func(v string) bool { return facetHas(facet, v, &tt.e, &tt.r) }) {
				t.Errorf("%s is not found by %q for %+v, %+v", tt.config, values, tt.e, tt.r)
			}
		}
	}
}

// facetHas tells whether a value of a facet would be looked up.
func facetHas(facet caddymsa.Facet, value string, e *queue.Entry, r *queue.Recipient) bool {
	path := e.Sender
	switch facet {
	case caddymsa.FacetUser:
		return names.Fold(e.User) == value
	case caddymsa.FacetRemoteIP:
		network, err := netip.ParsePrefix(value)
		return err == nil && network == network.Masked() && network.Contains(netip.MustParseAddr(e.RemoteIP).WithZone(""))
	case caddymsa.FacetRecipientDomain:
		path = r.Complete()
	}
	domain := mailaddr.DomainOf(path)
	parents, sub := strings.CutPrefix(value, "*")
	return value == domain || sub && strings.HasSuffix(domain, parents)
}

// "*" matches any domain, and none is looked up by it.
func TestEveryDomain(t *testing.T) {
	m := RecipientDomain{Domains{List: []string{"example.org", "*"}}}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if _, values := m.Facet(); values != nil {
		t.Errorf("found by %q", values)
	}
}

func TestBadConfig(t *testing.T) {
	for _, m := range []caddy.Provisioner{
		&RecipientDomain{}, &RecipientDomain{Domains{List: []string{"exa mple"}}}, &SenderDomain{},
		&RemoteIP{}, &RemoteIP{Ranges: []string{"192.0.2.0/33"}},
	} {
		if err := m.Provision(caddy.Context{}); err == nil {
			t.Errorf("%+v: no error", m)
		}
	}
	if (&User{}).Provision(caddy.Context{}) == nil {
		t.Error("no user: no error")
	}
	if new(User).UnmarshalCaddyfile(caddyfile.NewTestDispenser("user")) == nil {
		t.Error("user without arguments: no error")
	}
}

// With case exact the spelling counts, and JSON has an object in place of the list.
func TestUserCase(t *testing.T) {
	for text, want := range map[string]struct {
		json  string
		match map[string]bool
	}{
		"user Bob carol":                   {`["Bob","carol"]`, map[string]bool{"bob": true, "BOB": true, "Carol": true, "alice": false}},
		"user Bob {\n case fold\n}":        {`["Bob"]`, map[string]bool{"bob": true}},
		"user Bob carol {\n case exact\n}": {`{"users":["Bob","carol"],"case":"exact"}`, map[string]bool{"bob": false, "Bob": true, "Carol": false, "carol": true}},
	} {
		read := new(User)
		if err := read.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(read)
		if err != nil || string(b) != want.json {
			t.Errorf("%s: %s, %v", text, b, err)
		}
		m := new(User)
		if err := json.Unmarshal(b, m); err != nil {
			t.Fatal(err)
		}
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		for user, want := range want.match {
			if got, err := m.Match(&queue.Entry{User: user}, nil); got != want || err != nil {
				t.Errorf("%s: %s: %v, %v", text, user, got, err)
			}
			facet, values := m.Facet()
			if want && (facet != caddymsa.FacetUser || !slices.Contains(values, names.Fold(user))) {
				t.Errorf("%s: %s is not looked up by %v", text, user, values)
			}
		}
	}
	for _, text := range []string{`{"user":["bob"]}`, `{"users":["bob"],"case":"upper"}`, `"bob"`} {
		if err := json.Unmarshal([]byte(text), new(User)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

// An error names a domain once.
func TestErrorNamesDomainOnce(t *testing.T) {
	m := Domains{List: []string{"a b"}}
	if err := m.Provision(caddy.Context{}); err == nil || strings.Count(err.Error(), `"a b"`) != 1 {
		t.Error(err)
	}
}

// Many domains match as a few do.
func TestManyDomains(t *testing.T) {
	var m Domains
	for i := range 1000 {
		m.List = append(m.List, fmt.Sprintf("d%d.example", i), fmt.Sprintf("*.s%d.example", i))
	}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"a@d7.example": true, "a@D7.Example": true, "a@x.s7.example": true, "a@s7.example": false, "a@e.example": false, "": false, "Postmaster": false, "a@[192.0.2.1]": false} {
		if m.has(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}

// A thousand matchers, each asked about a recipient.
func BenchmarkThousandMatchers(b *testing.B) {
	all := make([]RecipientDomain, 1000)
	for i := range all {
		all[i].List = []string{fmt.Sprintf("d%d.example.org", i)}
		if err := all[i].Provision(caddy.Context{}); err != nil {
			b.Fatal(err)
		}
	}
	r := &queue.Recipient{Address: "somebody@d999.example.org"}
	b.ReportAllocs()
	for b.Loop() {
		for i := range all {
			_, _ = all[i].Match(nil, r)
		}
	}
}
