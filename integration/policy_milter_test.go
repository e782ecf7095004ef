package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// dkimKey makes an RSA key in a file and returns its DNS record.
func dkimKey(t testing.TB, file string) (record string) {
	t.Helper()
	openssl := need(t, "openssl")
	if out, err := exec.Command(openssl, "genrsa", "-out", file, "2048").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(openssl, "rsa", "-in", file, "-pubout").Output()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "-----") {
			b.WriteString(strings.TrimSpace(line))
		}
	}
	return "v=DKIM1; k=rsa; p=" + b.String()
}

// openDKIMVerifies has OpenDKIM check the one signature of a message against DNS records.
func openDKIMVerifies(t testing.TB, message []byte, records map[string]string) {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	for name, record := range records {
		b.WriteString(name + " " + record + "\n")
	}
	for name, text := range map[string]string{"dns": b.String(), "conf": "Mode v\nSyslog no\nTestDNSData " + dir + "/dns\n", "message": string(message)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(need(t, "opendkim"), "-x", filepath.Join(dir, "conf"), "-t", filepath.Join(dir, "message"), "-v").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("succeeded")) {
		t.Errorf("%v: %s\nof\n%s", err, out, message)
	}
}

// dkimpyVerifies has Python's dkimpy check the signatures of a message, and returns how many there are.
func dkimpyVerifies(t testing.TB, message []byte, records map[string]string) (signatures string) {
	t.Helper()
	python := need(t, "python3-dkim")
	args := []string{"clients/dkimverify.py"}
	for name, record := range records {
		args = append(args, name+"="+record)
	}
	cmd := exec.Command(python, args...)
	cmd.Stdin = bytes.NewReader(message)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s\nof\n%s", err, out, message)
	}
	return strings.TrimSpace(string(out))
}

// folded has fields in many lines, some with nothing but a name before the fold.
const folded = "From: Alice\r\n <alice@example.org>\r\nTo:\r\n bob@example.net\r\nSubject: one\r\n\ttwo   three\r\nMIME-Version:1.0\r\nX-Odd:  a  \r\n\r\n.dot\r\n\r\ntext  with   blanks \r\n\r\n\r\n"

// OpenDKIM as a milter signs what goes through, folded fields and all, and the signature holds for
// what is delivered.
func TestMilterOpenDKIM(t *testing.T) {
	t.Parallel()
	program := need(t, "opendkim")
	for _, canonical := range []string{"simple/simple", "relaxed/relaxed"} {
		t.Run(strings.ReplaceAll(canonical, "/", "-"), func(t *testing.T) {
			d := newDaemon(t, map[string]string{"conf": "Mode s\nSyslog no\nUserID $USER\nSocket local:$D/socket\nDomain example.org\nSelector s\nKeyFile $D/key\nCanonicalization " + canonical + "\nRequireSafeKeys no\n"},
				program, "-f", "-x", "$D/conf")
			record := dkimKey(t, filepath.Join(d.dir, "key"))
			d.run()
			s := start(t, layout{msa: `
	policy headers {
		add_missing Date Message-ID
	}
	policy milter unix/` + d.socket})
			trust := s.tlsConfig()
			if reply := s.endOfData(trust, folded); !strings.HasPrefix(reply, "250 ") {
				t.Fatal(reply)
			}
			got := s.mail("bob@example.net", 1)[0]
			if !bytes.HasSuffix(got, []byte(folded)) || !bytes.Contains(got, []byte("DKIM-Signature:")) {
				t.Errorf("delivered:\n%s", got)
			}
			records := map[string]string{"s._domainkey.example.org": record}
			if n := dkimpyVerifies(t, got, records); n != "1" {
				t.Error(n, "signatures")
			}
			if canonical == "relaxed/relaxed" { // of others, opendkim -t does not keep what follows the colon
				openDKIMVerifies(t, got, records)
			}
		})
	}
}

// clamav-milter has clamd look at messages, and refuses what is found in them.
func TestMilterClamAV(t *testing.T) {
	t.Parallel()
	program := need(t, "clamav-milter")
	c := startClamd(t)
	d := newDaemon(t, map[string]string{"conf": "MilterSocket $D/socket\nClamdSocket unix:" + c.socket + "\nForeground yes\nUser $USER\nOnInfected Reject\nRejectMsg Found %v\nAddHeader Add\nLogFile $D/log\n"},
		program, "--config-file", "$D/conf").run()
	s := start(t, layout{msa: "policy milter unix/" + d.socket})
	trust := s.tlsConfig()
	clean := "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n"
	if reply := s.endOfData(trust, clean); !strings.HasPrefix(reply, "250 ") {
		t.Error(reply)
	}
	got := s.mail("bob@example.net", 1)[0]
	if !bytes.HasSuffix(got, []byte("\r\n"+clean)) || !bytes.Contains(got, []byte("\r\nX-Virus-Scanned: ")) {
		t.Errorf("delivered:\n%s", got)
	}
	if reply := s.endOfData(trust, clean+eicar+"\r\n"); !strings.HasPrefix(reply, "550 5.7.1 Found Eicar-Test-Signature") {
		t.Error(reply)
	}
}

// rspamdConfig is a scanner in one process that knows two rules of ours and GTUBE, and few domains: those that it
// comes with take it seconds of CPU time to compile, where nothing is kept of the last time.
const rspamdConfig = `
options { task_timeout = 60s; dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; } url_tld = "$D/tld"; tempdir = "$D"; control_socket = "$D/control mode=0600"; pidfile = "$D/pid"; }
logging { type = "console"; level = "info"; }
actions { reject = 15; add_header = 6; "soft reject" = null; greylist = null; }
lua = "$D/rules.lua"
worker "rspamd_proxy" { bind_socket = "$D/socket mode=0600"; milter = yes; timeout = 60s; count = 1; upstream "local" { default = yes; self_scan = yes; } }
`

const rspamdRules = `
rspamd_config:register_symbol({name='SEEN', type='prefilter', callback=function(task)
  task:set_milter_reply({add_headers={['X-Seen-User']=task:get_user() or 'nobody'}})
  local subject = task:get_header('Subject') or ''
  if subject == 'later' then task:set_pre_result('soft reject', 'Come back later') end
  if subject == 'rewrite' then task:set_pre_result('rewrite subject', 'x'); task:set_metric_subject('SPAM: rewrite') end
end})
`

// rspamd's milter sees who the client is, adds fields, refuses and puts off; what it wants rewritten
// stays as it was submitted. When it hangs or is gone, what was configured happens.
func TestMilterRspamd(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, map[string]string{"rspamd.conf": rspamdConfig, "rules.lua": rspamdRules, "tld": "com\nnet\norg\n"}, need(t, "rspamd"), "-f", "-i", "-u", "$USER", "-g", "$USER", "-c", "$D/rspamd.conf")
	d.run()
	s := start(t, layout{msa: "policy milter unix/" + d.socket + " {\n\t\ttimeout 30s\n\t\tend_timeout 30s\n\t}"})
	trust := s.tlsConfig()
	message := func(subject, text string) string {
		return "From: alice@example.org\r\nTo: bob@example.net\r\nSubject: " + subject + "\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <" + subject + "@example.org>\r\n\r\n" + text + "\r\n"
	}
	const gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
	for _, tt := range [][2]string{
		{message("plain", "Hello"), "250 2.0.0 "},
		{message("spam", gtube), "554 5.7.1 Gtube pattern (milter: reply"},
		{message("later", "Hello"), "451 4.7.1 Come back later (milter: reply"},
		{message("rewrite", "Hello"), "250 2.0.0 "},
	} {
		if got := s.endOfData(trust, tt[0]); !strings.HasPrefix(got, tt[1]) {
			t.Errorf("%.120q: %s, want %s", tt[0], got, tt[1])
		}
	}
	for _, got := range s.mail("bob@example.net", 2) {
		if !bytes.Contains(got, []byte("\r\nX-Seen-User: alice@example.org\r\n")) || bytes.Contains(got, []byte("SPAM")) ||
			!bytes.HasSuffix(got, []byte(message("plain", "Hello"))) && !bytes.HasSuffix(got, []byte(message("rewrite", "Hello"))) {
			t.Errorf("delivered:\n%s", got)
		}
	}
	s.logged("a milter wants something changed", "change field Subject")

	d.signal(syscall.SIGSTOP)
	if got := s.endOfData(trust, message("hangs", "Hello")); !strings.HasPrefix(got, "451 4.3.0 ") {
		t.Errorf("rspamd hangs: %s", got)
	}
	d.signal(syscall.SIGKILL)
	if got := s.endOfData(trust, message("gone", "Hello")); !strings.HasPrefix(got, "451 4.3.0 ") || strings.Contains(got, d.dir) {
		t.Errorf("rspamd is gone: %s", got)
	}
	d.run()
	if got := s.endOfData(trust, message("back", "Hello")); !strings.HasPrefix(got, "250 2.0.0 ") {
		t.Errorf("rspamd is back: %s", got)
	}
}
