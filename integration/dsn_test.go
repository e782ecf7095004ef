package integration

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// report is a notification as Python's email package understands it.
type report struct {
	To, From, Auto string
	Message        map[string]string
	Recipients     []map[string]string
	OriginalType   string `json:"original_type"`
	Original       string
}

func parseReport(t *testing.T, message []byte) (r report) {
	t.Helper()
	cmd := exec.Command(need(t, "python3"), "clients/dsn.py")
	cmd.Stdin = bytes.NewReader(message)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		t.Fatalf("%v: %s\nof\n%s", err, stderr.String(), message)
	}
	return r
}

// Notifications of failure, delay, success and relaying are what RFC 3464 says, for a parser that is
// not of our making; NOTIFY, RET, ENVID and ORCPT of RFC 3461 are honoured.
func TestNotifications(t *testing.T) {
	t.Parallel()
	down := freeAddress(t)
	s := start(t, layout{msa: `
	@fails recipient_domain fails.example
	deliver @fails pipe /bin/sh -c "echo No such desk; exit 67"
	@down recipient_domain down.example
	deliver @down relay ` + down + ` {
		tls off
		queue {
			retry  200ms
			warn   500ms
			expire 10s
		}
	}
	deliver maildir $DIR/mail/{msa.recipient.domain}/{msa.recipient.local}`})
	trust := s.tlsConfig()
	began := time.Now().Add(-time.Second)
	submit := func(mail string, rcpts ...string) {
		t.Helper()
		c, err := s.as(trust, "alice@example.org")
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		steps := []func() error{func() error { return c.do("250", "MAIL FROM:<alice@example.org>"+mail) }}
		for _, r := range rcpts {
			steps = append(steps, func() error { return c.do("250", "RCPT TO:"+r) })
		}
		if err := all(steps...); err != nil {
			t.Fatal(err)
		}
		if _, err := c.data(letter("original")); err != nil {
			t.Fatal(err)
		}
	}
	submit(" RET=FULL ENVID=id+2B7", "<gone@fails.example> ORCPT=rfc822;first+2Bx@example.com", "<silent@fails.example> NOTIFY=NEVER", "<late@down.example> NOTIFY=FAILURE,DELAY",
		"<quiet@down.example> NOTIFY=SUCCESS", "<bob@example.net> NOTIFY=SUCCESS,FAILURE", "<carol@example.net>")
	submit("", "<other@fails.example>")

	want := map[string]string{
		"failed gone@fails.example": "5.1.1", "delayed late@down.example": "4.", "failed late@down.example": "5.4.7",
		"delivered bob@example.net": "2.", "failed other@fails.example": "5.1.1",
	}
	got := make(map[string]bool)
	for _, m := range s.mail("alice@example.org", 4) {
		r := parseReport(t, m)
		if r.Auto != "auto-replied" || !strings.Contains(r.To, "alice@example.org") || !strings.Contains(r.From, "@"+hostname) {
			t.Errorf("%+v", r)
		}
		if reporting := r.Message["reporting-mta"]; !strings.HasSuffix(reporting, hostname) {
			t.Errorf("reported by %q", reporting)
		}
		if arrived, err := time.Parse(time.RFC1123Z, r.Message["arrival-date"]); err != nil || arrived.Before(began.Truncate(time.Second)) {
			t.Errorf("arrival %q, %v", r.Message["arrival-date"], err)
		}
		other := false
		for _, rcpt := range r.Recipients {
			_, address, _ := strings.Cut(rcpt["final-recipient"], ";")
			key := rcpt["action"] + " " + strings.TrimSpace(address)
			other = other || strings.Contains(key, "other@")
			status, expected := want[key]
			if !expected || got[key] || !strings.HasPrefix(rcpt["status"], status) {
				t.Errorf("%s: %v", key, rcpt)
			}
			got[key] = true
			if original := rcpt["original-recipient"]; strings.HasSuffix(key, "gone@fails.example") && !strings.HasSuffix(original, "first+x@example.com") && !strings.HasSuffix(original, "first+2Bx@example.com") {
				t.Errorf("original recipient %q", original)
			}
			if strings.Contains(key, "gone@") && !strings.Contains(rcpt["diagnostic-code"], "No such desk") {
				t.Errorf("diagnostic %q", rcpt["diagnostic-code"])
			}
			if rcpt["action"] == "delayed" && rcpt["will-retry-until"] == "" {
				t.Error("nothing says how long it will be tried")
			}
		}
		if other != (r.Message["original-envelope-id"] == "") {
			t.Errorf("envelope id %q", r.Message["original-envelope-id"])
		}
		if !strings.Contains(r.Original, "Subject: original") {
			t.Errorf("original:\n%s", r.Original)
		}
		failed := r.Recipients[0]["action"] == "failed"
		if whole := strings.Contains(r.Original, "Hello."); whole != (failed && !other) || whole != (r.OriginalType == "message/rfc822") {
			t.Errorf("%v: the original is %s:\n%s", r.Recipients, r.OriginalType, r.Original)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}
