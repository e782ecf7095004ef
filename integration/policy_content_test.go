package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sendDeclaration submits, with Python's smtplib and email, a message with attachments. It prints what the
// server says, or 250.
const sendDeclaration = `
import smtplib, ssl, sys
from email.message import EmailMessage
address, name, ca, to, subject, reference = sys.argv[1:7]
m = EmailMessage()
m["From"], m["To"], m["Subject"] = "alice@example.org", to, subject
m["Date"], m["Message-ID"] = "Mon, 23 Nov 2026 12:00:00 +0000", "<1@client.example>"
if reference:
    m["X-Reference"] = reference
m.set_content("Hierbij de aangifte.\n")
for attachment in sys.argv[7:]:
    kind, file = attachment.split("=", 1)
    main, sub = kind.split("/")
    with open(file, "rb") as f:
        m.add_attachment(f.read(), maintype=main, subtype=sub, filename=file.split("/")[-1])
host, port = address.rsplit(":", 1)
class Client(smtplib.SMTP_SSL):
    def _get_socket(self, host, port, timeout):
        import socket
        return self.context.wrap_socket(socket.create_connection((host, port), timeout), server_hostname=name)
c = Client(host, int(port), timeout=30, context=ssl.create_default_context(cafile=ca))
c.login("alice@example.org", "secret")
try:
    c.send_message(m)
    print(250)
except smtplib.SMTPDataError as e:
    print(e.smtp_code, e.smtp_error.decode())
c.quit()
`

// the flow of the documentation takes its declaration from a real client, and refuses others by the rule's name.
func TestContentFlow(t *testing.T) {
	t.Parallel()
	python := need(t, "python3")
	page, err := os.ReadFile("../docs/policy-content.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```caddyfile\n(.*?)```").FindSubmatch(page)
	if example == nil {
		t.Fatal("no example in the documentation")
	}
	s := start(t, layout{msa: string(example[1])})
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	declaration := "application/xml=" + file("declaration.xml", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<declaration><vat>1234.56</vat></declaration>\n")
	const to, other, reference = "declarations@gov.example.org", "somebody@example.net", "BD2026-000001"
	for _, c := range []struct {
		name, to, subject, reference string
		attachments                  []string
		want                         string
	}{
		{"the declaration", to, "Aangifte", reference, []string{declaration}, "250"},
		{"no declaration", to, "Aangifte", reference, nil, "554 5.6.0 No application/xml part: exactly 1 required (content: declaration/parts)"},
		{"two", to, "Aangifte", reference, []string{declaration, declaration}, "554 5.6.0 The message has 4 parts, 3 allowed (content: declaration/max_parts)"},
		{"an image", to, "Aangifte", reference, []string{"image/png=" + file("a.png", "x")}, "554 5.7.1 Part 1.2, image/png, has a media type that is not allowed (content: declaration/media_types)"},
		{"no reference", to, "Aangifte", "", []string{declaration}, "554 5.6.0 Header field X-Reference is missing or empty (content: declaration/header X-Reference)"},
		{"another reference", to, "Aangifte", "1", []string{declaration}, "554 5.6.0 Header field X-Reference does not have the form that this message flow asks for: 1 (content: declaration/header X-Reference)"},
		{"a long subject", to, strings.Repeat("x", 201), reference, []string{declaration}, "554 5.6.0 Header field Subject has 201 characters, 200 allowed (content: declaration/header Subject)"},
		{"no XML", to, "Aangifte", reference, []string{"application/xml=" + file("declaration.xml", "<a></b>")},
			"554 5.6.0 Part 1.2, application/xml, is not well-formed XML: line 1: element <a> closed by </b> (content: declaration/well_formed_xml)"},
		{"a program", to, "Aangifte", reference, []string{"application/xml=" + file("declaration.exe", "<a/>")},
			"554 5.7.1 Part 1.2, application/xml, has a file name that is not allowed: declaration.exe (content: declaration/file_names)"},
		{"to others", other, "Hello", "", []string{"image/png=" + file("a.png", "x")}, "250"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"-c", sendDeclaration, s.implicit, hostname, s.root(), c.to, c.subject, c.reference}, c.attachments...)
			out, err := exec.Command(python, args...).CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
				t.Errorf("%v %s, want\n%s", err, got, c.want)
			}
		})
	}
	if got := string(s.mail(to, 1)[0]); !strings.Contains(got, "X-Reference: "+reference+"\r\n") {
		t.Errorf("delivered %q", got)
	}
	s.logged("message refused", "declaration/max_parts")
}
