package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// eicar is the test string that every scanner knows, in two halves so that none finds it here.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + `EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// startClamd runs a clamd whose only signature is the EICAR test string's.
func startClamd(t testing.TB) *daemon {
	t.Helper()
	return newDaemon(t, map[string]string{
		"db/test.ndb": fmt.Sprintf("Eicar-Test-Signature:0:*:%x\n", eicar[:40]),
		"conf":        "LocalSocket $D/socket\nDatabaseDirectory $D/db\nForeground yes\nUser $USER\nStreamMaxLength 10M\nMaxThreads 4\n",
	}, need(t, "clamd"), "--config-file", "$D/conf").run()
}

// clamd refuses what has the EICAR test string in it, as text or in a base64 attachment, by its
// signature's name; when it hangs, dies or finds a message too long, the client gets the right thing.
func TestClamAV(t *testing.T) {
	t.Parallel()
	c := startClamd(t)
	s := start(t, layout{msa: `
	policy clamav unix/` + c.socket + ` {
		timeout 10s
	}`})
	trust := s.tlsConfig()
	end := func(message string) string { return s.endOfData(trust, message) }

	clean := "From: alice@example.org\r\nSubject: x\r\n\r\nHello\r\n"
	bad := "From: alice@example.org\r\nSubject: x\r\n\r\n" + eicar + "\r\n"
	attached := "From: alice@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=e.com\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64Lines(eicar)
	for _, tt := range [][2]string{
		{clean, "250 2.0.0 Ok: queued as "}, {bad, "550 5.7.1 Message contains malware (clamav: Eicar-Test-Signature"}, {attached, "550 5.7.1 Message contains malware (clamav: Eicar-Test-Signature"},
		{clean + strings.Repeat("0123456789abcdef\r\n", 700_000), "552 5.3.4 Message is too large to be checked (clamav: too_large)"},
	} {
		if got := end(tt[0]); !strings.HasPrefix(got, tt[1]) {
			t.Errorf("%.80q: %s, want %s", tt[0], got, tt[1])
		}
	}
	c.signal(syscall.SIGSTOP)
	if got := end(clean); !strings.HasPrefix(got, "451 4.3.0 ") {
		t.Errorf("clamd hangs: %s", got)
	}
	c.signal(syscall.SIGKILL)
	if got := end(clean); !strings.HasPrefix(got, "451 4.3.0 ") || strings.Contains(got, c.dir) {
		t.Errorf("clamd is dead: %s", got)
	}
	c.run()
	// Its socket is there a moment before it listens on it.
	s.await("a verdict of the clamd that is back", func() bool { return strings.HasPrefix(end(bad), "550 5.7.1") })
}
