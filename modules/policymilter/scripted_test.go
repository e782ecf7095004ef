package policymilter

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/d--j/go-milter"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// scripted is a milter that answers the negotiation with one packet and the end of the message with another, and keeps all that it is told.
func scripted(t *testing.T, negotiation, end string) (address string, told <-chan string) {
	t.Helper()
	return scriptedAt(t, negotiation, 'E', end)
}

// scriptedAt says so of another command than the end of the message.
func scriptedAt(t *testing.T, negotiation string, at byte, say string) (address string, told <-chan string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "milter.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	all := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var text strings.Builder
		for {
			var head [4]byte
			if _, err := io.ReadFull(c, head[:]); err != nil {
				break
			}
			length := binary.BigEndian.Uint32(head[:])
			if length-1 > maxData { // as libmilter does
				break
			}
			packet := make([]byte, length)
			if _, err := io.ReadFull(c, packet); err != nil {
				break
			}
			answer := "c"
			switch packet[0] {
			case 'O':
				answer = negotiation
			case 'D', 'Q':
				answer = ""
			case at:
				answer = say
			}
			if packet[0] != 'O' {
				text.WriteString(strings.ReplaceAll(string(packet), "\x00", "|") + "\n")
			}
			if answer != "" {
				_, _ = c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(answer))), answer...))
			}
		}
		all <- text.String()
	}()
	return "unix/" + socket, all
}

const anything = "O\x00\x00\x00\x06\x00\x00\x01\xff\x00\x00\x00\x00"

// Each parameter of MAIL and RCPT is a string of its own, as libmilter expects, and the queue id is there from DATA on.
func TestArguments(t *testing.T) {
	address, told := scripted(t, anything, "a")
	p := open(t, &Milter{Address: address})
	s := msatest.NewSubmission("alice", "alice@example.org")
	s.DeclaredSize, s.Entry.Body, s.Entry.SMTPUTF8, s.Entry.Return, s.Entry.EnvelopeID = 99, "8BITMIME", true, "HDRS", "a=1"
	s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net", Notify: []string{"FAILURE", "DELAY"}, ORCPT: "rfc822;b@example.net"}}
	if err := p.CheckMessage(context.Background(), s, msatest.NewMessage("Subject: x\r\n\r\nbody\r\n")); err != nil {
		t.Fatal(err)
	}
	s.End(true)
	got := <-told
	for _, want := range []string{
		"M<alice@example.org>|SIZE=99|BODY=8BITMIME|SMTPUTF8|RET=HDRS|ENVID=a+3D1|\n", "R<bob@example.net>|NOTIFY=FAILURE,DELAY|ORCPT=rfc822;b@example.net|\n",
		"|_|[192.0.2.7]|{client_addr}|192.0.2.7|{client_name}|[192.0.2.7]|\nC", "DTi|01TEST|\nT\n", "DNi|01TEST|\nN\n", "DEi|01TEST|\nE\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

// A milter that asks for macros at one stage has those of the others as if it had asked for none.
func TestMacrosOfOneStage(t *testing.T) {
	for asked, want := range map[string][]string{
		"\x00\x00\x00\x02{auth_type} j\x00": {"DM{auth_type}|PLAIN|j|msa.example.org|\n", "DC", "DR", "DEi|01TEST|\n"},
		"\x00\x00\x00\x05\x00":              {"DM{auth_type}|PLAIN|{auth_authen}|alice|", "body\r\n\nE\n"},
		"\x00\x00\x00\x05no end":            {"DM{auth_type}|PLAIN|"},
	} {
		address, told := scripted(t, anything+asked, "a")
		p := open(t, &Milter{Address: address})
		s := msatest.NewSubmission("alice", "alice@example.org")
		s.Entry.Mechanism = "PLAIN"
		s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net"}}
		if err := p.CheckMessage(context.Background(), s, msatest.NewMessage("Subject: x\r\n\r\nbody\r\n")); err != nil {
			t.Fatal(err)
		}
		s.End(true)
		got := <-told
		for _, want := range want {
			if !strings.Contains(got, want) {
				t.Errorf("%q: %q is missing in\n%s", asked, want, got)
			}
		}
	}
}

// A reply of the milter's own goes to the client as smfi_setreply takes it: with a status or a text or neither, and its percent signs doubled.
func TestReplies(t *testing.T) {
	for reply, want := range map[string]string{
		"550":                        "550 5.7.1 Refused by milter: reply",
		"451":                        "451 4.7.1 Refused by milter: reply",
		"550 5.7.9":                  "550 5.7.9 Refused by milter: reply",
		"554 5.6.0 100%% spam":       "554 5.6.0 100% spam (milter: reply)",
		"554-5.6.0 a\r\n554 5.6.0 b": "554 5.6.0 a b (milter: reply)",
		"421 4.3.2 later":            "451 4.3.2 later (milter: reply)",
	} {
		address, _ := scripted(t, anything, "y"+reply+"\x00")
		_, _, err := end(open(t, &Milter{Address: address}), "x")
		r, ok := errors.AsType[*caddymsa.Refusal](err)
		if !ok || caddymsa.ReplyText(r.Reply("milter")) != want {
			t.Errorf("%q: %v, want %s", reply, err, want)
		}
	}
}

// A milter that accepts a client, or all that it hears of at some moment, is told no more, and the message goes on.
func TestAcceptedEarly(t *testing.T) {
	for _, at := range "CHMRTLNBE" {
		address, told := scriptedAt(t, anything, byte(at), "a")
		s := withRecipient()
		if err := open(t, &Milter{Address: address}).CheckMessage(context.Background(), s, msatest.NewMessage("Subject: x\r\n\r\nbody\r\n")); err != nil {
			t.Errorf("%c: %v", at, err)
		}
		s.End(true)
		last := ""
		for line := range strings.Lines(<-told) {
			if line[0] != 'Q' {
				last = line
			}
		}
		if at != 'B' && last[0] != byte(at) { // which has lines
			t.Errorf("%c: told %q last", at, last)
		}
	}
}

// A field that is too long for the milter is refused for good, and not put off for ever; one that just fits is told.
func TestLongField(t *testing.T) {
	for _, tt := range []struct {
		octets    int
		onFailure string
		want      string
	}{
		{maxData - len("Subject\x00\x00"), "", ""},
		{maxData, "", "554 5.6.0 Header field Subject is too long to be checked (milter: header)"},
		{maxData, "refuse", "554 5.6.0 Header field Subject is too long to be checked (milter: header)"},
		{maxData, "accept", ""},
	} {
		address, _ := scripted(t, anything, "a")
		p := open(t, &Milter{Address: address, OnFailure: tt.onFailure})
		s := withRecipient()
		err := p.CheckMessage(context.Background(), s, msatest.NewMessage("Subject: "+strings.Repeat("x", tt.octets)+"\r\n\r\nbody\r\n"))
		s.End(true)
		var got string
		if r, ok := errors.AsType[*caddymsa.Refusal](err); ok {
			got = caddymsa.ReplyText(r.Reply("milter"))
		}
		if got != tt.want || tt.want == "" && err != nil {
			t.Errorf("%d octets, on_failure %q: %v", tt.octets, tt.onFailure, err)
		}
	}
	address, told := start(t) // which takes more
	if err := open(t, &Milter{Address: address}).CheckMessage(context.Background(), withRecipient(), msatest.NewMessage("Subject: "+strings.Repeat("x", 2*maxData)+"\r\n\r\n")); err != nil || !strings.Contains(told(), "xxx") {
		t.Error(err)
	}
}

func withRecipient() *caddymsa.Submission {
	s := msatest.NewSubmission("alice", "alice@example.org")
	s.Entry.Recipients = []queue.Recipient{{Address: "bob@example.net"}}
	return s
}

// To change a field that is not there is to add it, as Sendmail and Postfix have it, or nothing at all; a milter's own can be changed too.
func TestChangeOfWhatIsNotThere(t *testing.T) {
	change := func(name string, index uint32, value string) milter.ModifyAction {
		return milter.ModifyAction{Type: milter.ActionChangeHeader, HeaderName: name, HeaderIndex: index, HeaderValue: value}
	}
	add := func(name, value string) milter.ModifyAction {
		return milter.ModifyAction{Type: milter.ActionAddHeader, HeaderName: name, HeaderValue: value}
	}
	for name, tt := range map[string]struct {
		changes []milter.ModifyAction
		want    string
		refused bool
	}{
		"added":              {[]milter.ModifyAction{change("X-New", 1, "v")}, "X-New: v\r\n", false},
		"one more":           {[]milter.ModifyAction{change("subject", 2, "v")}, "subject: v\r\n", false},
		"behind them all":    {[]milter.ModifyAction{change("Subject", 9, "v")}, "Subject: v\r\n", false},
		"nothing deleted":    {[]milter.ModifyAction{change("X-New", 1, "")}, "", false},
		"submitted":          {[]milter.ModifyAction{change("SUBJECT", 1, "v")}, "", true},
		"deleted":            {[]milter.ModifyAction{change("Subject", 1, "")}, "", true},
		"a policy's":         {[]milter.ModifyAction{change("X-Before", 1, "v")}, "", true},
		"its own":            {[]milter.ModifyAction{add("X-A", "1"), add("X-B", "2"), add("x-a", "3"), change("X-A", 2, "4")}, "X-A: 1\r\nX-B: 2\r\nX-A: 4\r\n", false},
		"its own, deleted":   {[]milter.ModifyAction{add("X-A", "1"), add("X-B", "2"), change("X-A", 1, "")}, "X-B: 2\r\n", false},
		"its own Subject":    {[]milter.ModifyAction{add("Subject", "1"), change("Subject", 2, "2")}, "Subject: 2\r\n", false},
		"malformed":          {[]milter.ModifyAction{change("X A", 1, "v")}, "", true},
		"made malformed":     {[]milter.ModifyAction{add("X-A", "1"), change("X-A", 1, "\x00")}, "", true},
		"an index that is 0": {[]milter.ModifyAction{change("Subject", 0, "v")}, "", true},
	} {
		p := &Milter{Address: "127.0.0.1:1", OnChange: caddymsa.FailRefuse, log: zap.NewNop()}
		m := msatest.NewMessage("Subject: x\r\n\r\n")
		m.Prepend("X-Before: 1\r\n")
		err := p.change(msatest.NewSubmission("alice", "alice@example.org"), m, tt.changes)
		if got := strings.TrimSuffix(string(m.Prepended()), "X-Before: 1\r\n"); (err != nil) != tt.refused || got != tt.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
