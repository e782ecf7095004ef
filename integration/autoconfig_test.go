package integration

import (
	"archive/zip"
	"bytes"
	"crypto/tls"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
)

// autoconfigSite is a server with a web site that tells mail programs of it.
func autoconfigSite(t *testing.T, settings string) (s *server, site string) {
	t.Helper()
	s = newServer(t)
	site = freeAddress(t)
	s.write("Caddyfile", s.caddyfile(layout{global: "auto_https disable_redirects"})+
		"https://autoconfig.example.org:"+port(site)+" {\n\ttls internal\n\tmsa_autoconfig "+hostname+" {\n\t\tdomains example.org\n\t\tdisplay_name \"Example & Sons\"\n\t\t"+settings+"\n\t}\n}\n")
	s.writeUsers("")
	s.run()
	trust := s.tlsConfig()
	trust.ServerName = "autoconfig.example.org"
	s.await("the certificate of the site", func() bool {
		conn, err := tls.Dial("tcp", site, trust)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return s, site
}

// curl asks the site, whose name and certificate it checks.
func (s *server) curl(site string, args ...string) string {
	s.t.Helper()
	args = append([]string{"--silent", "--show-error", "--fail", "--cacert", s.root(), "--resolve", "autoconfig.example.org:" + port(site) + ":127.0.0.1"}, args...)
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "$SITE", "https://autoconfig.example.org:"+port(site))
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(need(s.t, "curl"), args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("curl %q: %v\n%s", args, err, &errs)
	}
	return out.String()
}

// Thunderbird's own code makes an account of what the site says, with the ports that the server listens on.
func TestAutoconfigThunderbird(t *testing.T) {
	t.Parallel()
	node := need(t, "xmldom")
	modules := thunderbirdModules(t)
	s, site := autoconfigSite(t, "imap imap.example.org:993\n\t\tpop3 pop.example.org:110")
	for _, path := range []string{"/mail/config-v1.1.xml?emailaddress=alice%40example.org", "/.well-known/autoconfig/mail/config-v1.1.xml"} {
		cmd := exec.Command(node, "clients/thunderbird.mjs", modules, "alice@example.org")
		cmd.Env = append(os.Environ(), installed.NodePath)
		document := s.curl(site, "$SITE"+path)
		cmd.Stdin = strings.NewReader(document)
		out, err := cmd.CombinedOutput()
		want := "Example & Sons\nimap imap.example.org:993 SSL cleartext alice@example.org\npop3 pop.example.org:110 STARTTLS cleartext alice@example.org\n" +
			"smtp " + hostname + ":" + port(s.implicit) + " SSL cleartext alice@example.org\nsmtp " + hostname + ":" + port(s.starttls) + " STARTTLS cleartext %EMAILADDRESS%\n" // it fills alternatives in when one is chosen
		if err != nil || string(out) != want {
			t.Errorf("%s: %v\n%s\nwant:\n%s\nof:\n%s", path, err, out, want, document)
		}
	}
}

// thunderbirdModules takes what reads autoconfig out of an installed Thunderbird.
func thunderbirdModules(t *testing.T) (dir string) {
	t.Helper()
	archive, err := zip.OpenReader("/usr/lib/thunderbird/omni.ja")
	if err != nil {
		installed.Lack(t, "thunderbird", err)
	}
	defer archive.Close()
	dir = t.TempDir()
	for _, name := range []string{"accountcreation/readFromXML", "accountcreation/AccountConfig", "accountcreation/InputSanitizer", "JXON", "hostnameUtils", "OAuth2Providers"} {
		f, err := archive.Open("modules/" + name + ".sys.mjs")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		// All of them lie in one directory here.
		text = bytes.ReplaceAll(text, []byte(`from "resource:///modules/`), []byte(`from "./`))
		text = bytes.ReplaceAll(text, []byte(`.sys.mjs"`), []byte(`.mjs"`))
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)+".mjs"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Apple's profile is signed with the site's certificate, as openssl checks, and is a property list as Python reads it.
func TestAutoconfigMobileconfig(t *testing.T) {
	t.Parallel()
	openssl, python := need(t, "openssl"), need(t, "python3")
	s, site := autoconfigSite(t, "imap imap.example.org:993")
	var first string
	for range 2 {
		signed := filepath.Join(s.dir, "email.mobileconfig")
		s.curl(site, "--output", signed, "$SITE/email.mobileconfig?email=alice%40example.org")
		verify := exec.Command(openssl, "cms", "-verify", "-inform", "DER", "-in", signed, "-CAfile", s.root(), "-purpose", "any", "-out", filepath.Join(s.dir, "plain"),
			"-signer", filepath.Join(s.dir, "signer.pem"))
		if out, err := verify.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		signer, err := exec.Command(openssl, "x509", "-in", filepath.Join(s.dir, "signer.pem"), "-noout", "-ext", "subjectAltName").CombinedOutput()
		if err != nil || !strings.Contains(string(signer), "DNS:autoconfig.example.org") {
			t.Fatalf("%v\n%s", err, signer)
		}
		out, err := exec.Command(python, "-c", `
import plistlib, sys
p = plistlib.load(open(sys.argv[1], "rb"))
(m,) = p["PayloadContent"]
print(p["PayloadType"], p["PayloadDisplayName"], p["PayloadUUID"], m["PayloadUUID"])
print(m["EmailAccountType"], m["EmailAddress"], m["IncomingMailServerHostName"], m["IncomingMailServerPortNumber"], m["IncomingMailServerUseSSL"])
print(m["OutgoingMailServerHostName"], m["OutgoingMailServerPortNumber"], m["OutgoingMailServerUseSSL"], m["OutgoingMailServerAuthentication"], m["OutgoingMailServerUsername"])
`, filepath.Join(s.dir, "plain")).CombinedOutput()
		want := "EmailTypeIMAP alice@example.org imap.example.org 993 True\n" + hostname + " " + port(s.implicit) + " True EmailAuthPassword alice@example.org\n"
		if err != nil || !strings.HasPrefix(string(out), "Configuration Example & Sons ") || !strings.HasSuffix(string(out), want) {
			t.Fatalf("%v\n%s\nwant:\n%s", err, out, want)
		}
		if first != "" && string(out) != first { // identifiers stay when it is fetched again
			t.Errorf("%s\nthen\n%s", first, out)
		}
		first = string(out)
	}
}

// Outlook's request is answered; a domain that is not listed is unknown, in whatever way it is asked for.
func TestAutoconfigCurl(t *testing.T) {
	t.Parallel()
	s, site := autoconfigSite(t, "imap imap.example.org:993")
	request := func(address string) string {
		return `<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>` + address +
			`</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>`
	}
	for _, path := range []string{"/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"} {
		answer := s.curl(site, "--header", "Content-Type: text/xml", "--data", request("alice@example.org"), "$SITE"+path)
		for _, want := range []string{"<Type>IMAP</Type>", "<Server>" + hostname + "</Server>", "<Port>" + port(s.implicit) + "</Port>", "<LoginName>alice@example.org</LoginName>"} {
			if !strings.Contains(answer, want) {
				t.Errorf("%s: no %s in\n%s", path, want, answer)
			}
		}
	}
	status := []string{"--no-fail", "--output", "/dev/null", "--write-out", "%{http_code}"}
	for _, args := range [][]string{
		{"--data", request("alice@example.net"), "$SITE/autodiscover/autodiscover.xml"},
		{"$SITE/mail/config-v1.1.xml?emailaddress=alice@example.net"},
		{"$SITE/email.mobileconfig?email=alice@example.net"},
	} {
		if got := s.curl(site, append(status, args...)...); got != "404" {
			t.Errorf("%q: %s", args, got)
		}
	}
}
