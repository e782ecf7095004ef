package nexthop

import (
	"bufio"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
)

func TestReply(t *testing.T) {
	none := smtp.EnhancedCode{}
	type want struct {
		code     int
		enhanced smtp.EnhancedCode
		text     string // or what the error says
	}
	for in, want := range map[string]want{
		"250\r\n":                          {250, none, ""},
		"250 \r\n":                         {250, none, ""},
		"250 Ok\n":                         {250, none, "Ok"},
		"250\tOk\r\n":                      {250, none, "Ok"},
		"250-\r\n250-\r\n250\r\n":          {250, none, "\n\n"},
		"220-x\r\n220\r\n":                 {220, none, "x\n"},
		"250-2.0.0 a\r\n250 2.0.0 b\r\n":   {250, smtp.EnhancedCode{2, 0, 0}, "a\nb"},
		"550 5.1.1 no\r\n":                 {550, smtp.EnhancedCode{5, 1, 1}, "no"},
		"550 4.1.1 no\r\n":                 {550, none, "4.1.1 no"}, // of another class
		"550 5.1.1\r\n":                    {550, smtp.EnhancedCode{5, 1, 1}, ""},
		"550 5.1000.1 x\r\n":               {550, none, "5.1000.1 x"},
		"550 5..1 x\r\n":                   {550, none, "5..1 x"},
		"550-5.1.1 a\r\n550 5.1.2 b\r\n":   {550, smtp.EnhancedCode{5, 1, 1}, "a\n5.1.2 b"},
		"550-a\r\n550 5.1.1 b\r\n":         {550, smtp.EnhancedCode{5, 1, 1}, "a\nb"},
		"599 \xff\r\n":                     {599, none, "\xff"},
		"250 " + strings.Repeat("x", 5000): {0, none, "EOF"},
		"250-a\r\n251 b\r\n":               {251, none, "a\nb"},
		"550-5.1.1 a\r\n554 5.1.1 b\r\n":   {554, smtp.EnhancedCode{5, 1, 1}, "a\nb"},
		"250-a\r\n550 b\r\n":               {0, none, "the codes 250 and 550"},
		"25\r\n":                           {0, none, "not a reply"},
		"250x\r\n":                         {0, none, "not a reply"},
		"150 x\r\n":                        {0, none, "not a reply"},
		"650 x\r\n":                        {0, none, "not a reply"},
		"hello\r\n":                        {0, none, "not a reply"},
		"\r\n":                             {0, none, "not a reply"},
		"":                                 {0, none, "EOF"},
		"250 Ok\r\r\n":                     {250, none, "Ok"},
		"250\r\r\r\n":                      {250, none, ""},
		"250 a\rb\r\n":                     {250, none, "a\rb"},
		"250-x\r\n250 y":                   {0, none, "EOF"},
		strings.Repeat("250-x\r\n", maxReply/7+1):           {0, none, "does not stop"},
		"250 " + strings.Repeat("x", maxReply) + "\r\n":     {0, none, "does not stop"},
		"250-x\r\n250 " + strings.Repeat("x", maxReply):     {0, none, "does not stop"},
		strings.Repeat("250-x\r\n", 20000) + "451 y\r\n":    {0, none, "the codes 250 and 451"},
		strings.Repeat("250-x\r\n", 20000) + "hello\r\n":    {0, none, "EOF"},
		strings.Repeat("250-x\r\n", 20000) + "25\r\n":       {0, none, "not a reply"},
		"220-x\r\nwelcome\r\n\r\n220 y\r\n":                 {220, none, "x\nwelcome\n\ny"},
		"250-2.0.0 a\r\n250-" + strings.Repeat("x", 500000): {0, none, "EOF"},
	} {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(in), 64))
		if want.code == 0 {
			if err == nil || !strings.Contains(err.Error(), want.text) {
				t.Errorf("%.60q: %v", in, err)
			}
		} else if have := r.smtp(); err != nil || have.Code != want.code || have.EnhancedCode != want.enhanced || have.Message != want.text {
			t.Errorf("%.60q: %+v, %v", in, have, err)
		}
	}
	r, err := readReply(bufio.NewReader(strings.NewReader(strings.Repeat("250-2.0.0 "+strings.Repeat("x", 500)+"\r\n", 50) + "250 x\r\n")))
	if e := r.smtp(); err != nil || len(e.Message) > maxText {
		t.Errorf("%v, %d octets are kept", err, len(e.Message))
	}
}

// A reply that is longer than anybody wants is read to its end, and little of it is kept.
func TestLongReply(t *testing.T) {
	for name, in := range map[string]string{
		"lines":      strings.Repeat("250-"+strings.Repeat("x", 500)+"\r\n", 1000) + "250 ok\r\n",
		"bare lines": strings.Repeat("250-\r\n", 100000) + "250\r\n",
		"one line":   "250 " + strings.Repeat("x", 500000) + "\r\n",
		"last line":  "250-a\r\n250 " + strings.Repeat("x", 500000) + "\r\n",
	} {
		in := bufio.NewReader(strings.NewReader(in + "354 next\r\n"))
		r, err := readReply(in)
		kept := 0
		for _, line := range r.lines {
			kept += len(line)
		}
		if err != nil || r.code != 250 || kept > maxKept || len(r.lines) > maxKept/len("250\r\n") || kept == 0 && name != "bare lines" {
			t.Errorf("%s: %d, %v, %d octets in %d lines", name, r.code, err, kept, len(r.lines))
		}
		if next, err := readReply(in); err != nil || next.code != 354 {
			t.Errorf("%s: then %d, %v", name, next.code, err)
		}
	}
}

// Codes of one class may differ, and the last one counts.
func TestMixedCodes(t *testing.T) {
	for in, want := range map[string]int{"250-a\r\n251 b\r\n": 251, "550-a\r\n550-b\r\n554 c\r\n": 554, "250-a\r\n550 b\r\n": 0, "550-a\r\n250 b\r\n": 0, "250-a\r\n354 b\r\n": 0} {
		if r, err := readReply(bufio.NewReader(strings.NewReader(in))); r.code != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", in, r.code, err)
		}
	}
}

// FuzzReply: no reply does any harm, and what is read is no more than one.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 Ok\r\n", "250\r\n354 go\r\n", "220-x\r\n220\r\n", "550 5.1.1 no\r\n", "250-a\r\n251 b\r\n", "421\n", "250-\xff\r\n250 2.0.0\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(s), 16))
		if err != nil {
			return
		}
		e := r.smtp()
		if r.code < 200 || r.code > 599 || s[0] != fmt.Sprint(r.code)[0] || e.Code != r.code || len(e.Message) > maxText {
			t.Fatalf("%q: %+v", s, e)
		}
		if r.positive() && r.negative() {
			t.Fatal("both")
		}
		_ = tooMany(e)
		_ = replyText(e)
		if id := queueID(e.Message); len(id) > 64 || strings.ContainsAny(id, " \r\n") || !isPrintable(id) {
			t.Fatalf("id %q", id)
		}
		_ = parseExtensions(r.lines)
	})
}

func TestExtensions(t *testing.T) {
	have := parseExtensions([]string{
		"hop.example PIPELINING", "pipelining", "STARTTLS", "DSN", "8bitmime", "SMTPUTF8", "MT-PRIORITY MIXER", "size 100 x",
		"AUTH plain LOGIN", "AUTH=PLAIN SCRAM-SHA-256", "", "X-UNKNOWN y", "Limits mailmax=3 RCPTMAX=99999999999999999999 rcptMax=7 RCPTDOMAINMAX=9999999999",
	})
	want := extensions{
		pipelining: true, startTLS: true, dsn: true, eightBit: true, utf8: true, priority: true, sized: true, size: 100,
		auth: []string{"PLAIN", "LOGIN", "SCRAM-SHA-256"}, maxMails: 3, maxRecipients: 7, maxDomains: 1<<31 - 1,
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v", have)
	}
	for _, lines := range [][]string{nil, {}, {"hop"}, {"hop", "SIZE"}, {"hop", "SIZE -1", "LIMITS"}} {
		if x := parseExtensions(lines); x.size != 0 || x.maxMails != 0 {
			t.Errorf("%q: %+v", lines, x)
		}
	}
}

// The ids that mail servers say they have given a message.
func TestQueueID(t *testing.T) {
	for text, want := range map[string]string{
		"Ok: queued as 4XYZabc":                   "4XYZabc",
		"OK id=1rA2bC-000000-01":                  "1rA2bC-000000-01",
		"<bob@example.net> 4E6pABC Saved":         "4E6pABC",
		"2dRt6k001 Message accepted for delivery": "2dRt6k001",
		"<a@b> [InternalId=123456, Hostname=x.example] 5678 bytes in 0.1 Queued mail for delivery": "123456",
		"OK 1700000000 a1-2b3c.4 - gsmtp":       "",
		"Ok":                                    "",
		"Ok: queued as A\x00B\x1b[31m":          "",
		"Ok: queued as caf\u00e9":               "",
		"queued as " + strings.Repeat("x", 100): strings.Repeat("x", 64),
	} {
		if have := queueID(text); have != want {
			t.Errorf("%q: %q", text, have)
		}
	}
}
