package integration

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/sasl"
)

func digestHA1(user, realm, password string) string {
	ha1 := sasl.DigestHA1(user, realm, password)
	return hex.EncodeToString(ha1[:])
}

// TestDialogues replays what clients .... A file
// whose name begins with tls_ is played on the port with implicit TLS. What the journal says of it afterwards is beside it,
// in NAME.facts.
func TestDialogues(t *testing.T) {
	t.Parallel()
	s := start(t, layout{msa: `
	@local recipient_domain example.org example.net msa.example.test
	deliver @local maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}
	limits {
		connections_per_ip 1000
	}`})
	config := s.tlsConfig()
	files, err := filepath.Glob("dialogue/*.smtp")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	var dialogues []played
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".smtp")
		dialogues = append(dialogues, played{name, time.Now()})
		t.Run(name, func(t *testing.T) {
			addr := s.starttls
			if strings.HasPrefix(name, "tls_") {
				addr = s.implicit
			}
			msatest.Dialogue(t, file, addr, config)
		})
	}
	dialogues = append(dialogues, played{"nothing after them", time.Now()})
	// the client that sent no EHLO within TLS.
	if got := s.mail("noehlo@example.net", 1)[0]; !bytes.Contains(got, []byte("\r\nReceived: from [127.0.0.1]\r\n")) {
		t.Errorf("Received without EHLO:\n%s", got)
	}
	for _, secret := range []string{"hunter2", "\"secret", "c2VjcmV0", "AHNlY3JldA"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
	await(t, "an empty queue", func() bool {
		_, body := s.adminRequest("GET", "/msa/queue", "")
		return strings.Contains(body, `"entries":[]`)
	})
	s.stop()
	facts := readJournal(t, filepath.Join(s.dir, "spool"))
	checkFates(t, facts, func(string) bool { return false })
	goldenFacts(t, s.dir, facts, dialogues)
}
