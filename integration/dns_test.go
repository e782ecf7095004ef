package integration

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-msa/caddy-msa/caddymsa/dnscheck/dnstest"
)

// What the command prints of the running server is right when it is published, and wrong once the server is another.
func TestDNS(t *testing.T) {
	t.Parallel()
	openssl := need(t, "openssl")
	s, _ := autoconfigSite(t, "")
	key, err := exec.Command(openssl, "genpkey", "-algorithm", "ed25519").Output()
	if err != nil {
		t.Fatal(err)
	}
	s.write("dkim.pem", string(key))
	sites := "https://autoconfig.example.test:" + port(freeAddress(t)) + ", https://autodiscover.example.test:" + port(freeAddress(t)) +
		" {\n\tbind 127.0.0.1\n\ttls internal\n\tmsa_autoconfig " + hostname + " {\n\t\tdomains example.test\n\t}\n}\n" +
		"https://mta-sts.example.test:" + port(freeAddress(t)) + " {\n\tbind 127.0.0.1\n\ttls internal\n\trespond /.well-known/mta-sts.txt <<POLICY\n\t\tversion: STSv1\n\t\tmode: enforce\n\t\tmx: mx.example.test\n\t\tmax_age: 604800\n\t\tPOLICY 200\n}\n"
	load := func(more string) {
		t.Helper()
		msa := "policy dkim {\n\t\tkey example.test ed $DIR/dkim.pem\n\t}\n\tbounces relay localhost:1 {\n\t\tbind 203.0.113.9\n\t}\n\t" + more
		if status, answer := s.load(s.caddyfile(layout{global: "auto_https disable_redirects", msa: msa}) + sites); status != 200 {
			t.Fatal(status, answer)
		}
	}
	load("")
	command := func(args ...string) (string, error) {
		out, err := exec.Command(binary, append([]string{"msa", "dns", "example.test", "--address", s.admin}, args...)...).CombinedOutput()
		return string(out), err
	}
	printed, err := command()
	if err != nil {
		t.Fatal(err, printed)
	}
	published := []string{hostname + ". A 192.0.2.1"}
	zone := dns.NewZoneParser(strings.NewReader(printed), "", "")
	for rr, ok := zone.Next(); ok; rr, ok = zone.Next() {
		published = append(published, rr.String())
	}
	// SRV of both services, autoconfig, autodiscover and its SRV, two TLSA, DKIM, SPF, and two of MTA-STS.
	if zone.Err() != nil || len(published) != 1+11 || !strings.Contains(printed, " "+port(s.implicit)+" "+hostname+".\n") || !strings.Contains(printed, "ip4:203.0.113.9") {
		t.Fatalf("%v, printed\n%s", zone.Err(), printed)
	}
	resolver := dnstest.Serve(t, published...)
	if out, err := command("--check", "--resolver", resolver); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// Another DKIM key is in force.
	if key, err = exec.Command(openssl, "genpkey", "-algorithm", "ed25519").Output(); err != nil {
		t.Fatal(err)
	}
	s.write("dkim.pem", string(key))
	load("received no_client")
	out, err := command("--check", "--resolver", resolver)
	if err == nil || !strings.Contains(out, "differs  ed._domainkey.example.test.") || strings.Count(out, "differs") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}
