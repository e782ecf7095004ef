package httpsubmit

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
	"testing"

	gomessage "github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
)

var asJSON = map[string]string{"Content-Type": "application/json; charset=utf-8"}

// A document becomes the message that it says, read by another library.
func TestDocument(t *testing.T) {
	f, h := serve(t)
	w := ask(t, h, "POST", "/send/?envid=e1", `{
		"from": {"name": "Zoë \"Z\" Müller, Ltd.", "address": "alice@example.org"},
		"to": ["bob@example.net", "Carol \\ \"C\" <carol@example.net>", {"name": "=?utf-8?q?x?=", "address": "dave@example.net"}],
		"cc": "Erin <erin@example.net>", "bcc": ["bob@example.net", "frank@example.net"], "reply_to": "desk@example.org",
		"subject": "Grüße aus Köln: `+strings.Repeat("überlang ", 40)+`",
		"text": "hällo\n.\r\nFrom here\rand\nlong `+strings.Repeat("x", 1200)+`", "html": "<p>hällo <img src=\"cid:logo@x\">",
		"attachments": [
			{"filename": "Übersicht 2026.pdf", "type": "application/pdf; name=other", "content": "JVBERi0K\nAA=="},
			{"type": "image/png", "content_id": "logo@x", "content": "iVBORw=="},
			{"filename": "a\"b.txt", "type": "text/plain; charset=utf-8", "content": "w6Q="}],
		"headers": {"X-Order": ["1", "2"], "In-Reply-To": "<a@b>", "List-Unsubscribe": "<https://example.org/u?x=1>", "Comments": "ä  \t b"}
	}`, asJSON)
	if w.Code != 202 {
		t.Fatal(w.Code, w.Body)
	}
	m := f.last(t)
	if m.from != "alice@example.org" || strings.Join(m.to, " ") != "bob@example.net carol@example.net dave@example.net erin@example.net frank@example.net" || m.options.EnvelopeID != "e1" || m.options.UTF8 {
		t.Errorf("%+v", m.options)
	}
	if strings.Contains(m.body, "frank") || strings.Contains(strings.ToLower(m.body), "\nbcc") || strings.Contains(strings.ReplaceAll(m.body, "\r\n", ""), "\r") || strings.Contains(strings.ReplaceAll(m.body, "\r\n", ""), "\n") || !strings.HasSuffix(m.body, "\r\n") {
		t.Errorf("%q", m.body)
	}
	for line := range strings.SplitSeq(m.body, "\r\n") {
		if len(line) > 998 || strings.ContainsFunc(line, func(r rune) bool { return r >= 0x7f }) {
			t.Errorf("line of %d octets: %q", len(line), line)
		}
	}
	r, err := gomail.CreateReader(strings.NewReader(m.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"From": `Zoë "Z" Müller, Ltd.|alice@example.org`, "To": `|bob@example.net Carol \ "C"|carol@example.net =?utf-8?q?x?=|dave@example.net`,
		"Cc": "Erin|erin@example.net", "Reply-To": "|desk@example.org"} {
		list, err := r.Header.AddressList(name)
		var got []string
		for _, a := range list {
			got = append(got, a.Name+"|"+a.Address)
		}
		if strings.Join(got, " ") != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if subject, err := r.Header.Subject(); subject != "Grüße aus Köln: "+strings.TrimSpace(strings.Repeat("überlang ", 40)) || err != nil {
		t.Errorf("%q, %v", subject, err)
	}
	if c, _ := r.Header.Text("Comments"); c != "ä b" || r.Header.Get("In-Reply-To") != "<a@b>" || len(r.Header.Values("X-Order")) != 2 || r.Header.Get("List-Unsubscribe") != "<https://example.org/u?x=1>" {
		t.Errorf("%q %v", c, r.Header.Map())
	}
	if date, err := r.Header.Date(); err != nil || date.IsZero() {
		t.Error(err)
	}
	if id, err := r.Header.MessageID(); err != nil || !strings.HasSuffix(id, "@example.org") {
		t.Error(id, err)
	}
	got := walk(t, m.body)
	want := []string{"multipart/mixed ", "multipart/alternative ", "text/plain  hällo\r\n.\r\nFrom here\r\nand\r\nlong " + strings.Repeat("x", 1200), "multipart/related ", `text/html  <p>hällo <img src="cid:logo@x">`,
		"image/png inline <logo@x> \x89PNG", "application/pdf attachment;Übersicht 2026.pdf %PDF-\n\x00", "text/plain attachment;a\"b.txt ä"}
	if strings.Join(got, "\n--\n") != strings.Join(want, "\n--\n") {
		t.Errorf("%q\nwanted\n%q", got, want)
	}
}

// walk has each entity of a message in a line.
func walk(t testing.TB, text string) (all []string) {
	t.Helper()
	e, err := gomessage.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	err = e.Walk(func(_ []int, e *gomessage.Entity, err error) error {
		if err != nil {
			return err
		}
		kind, params, err := e.Header.ContentType()
		if err != nil {
			return err
		}
		if strings.HasPrefix(kind, "multipart/") {
			all = append(all, kind+" ")
			return nil
		}
		if params["name"] != "" {
			t.Error("a name in Content-Type")
		}
		b, err := io.ReadAll(e.Body)
		disposition, dp, _ := mime.ParseMediaType(e.Header.Get("Content-Disposition"))
		if dp["filename"] != "" {
			disposition += ";" + dp["filename"]
		}
		if id := e.Header.Get("Content-Id"); id != "" {
			disposition += " " + id
		}
		all = append(all, kind+" "+disposition+" "+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What is left out leaves no part.
func TestPlainDocuments(t *testing.T) {
	f, h := serve(t)
	for body, want := range map[string]string{
		`{"from":"a@example.org","to":"b@example.net","text":"x"}`:                                                                "text/plain  x\r\n",
		`{"from":"a@example.org","to":"b@example.net","html":"x\n"}`:                                                              "text/html  x\r\n",
		`{"from":"a@example.org","to":"b@example.net","text":"x","html":"y"}`:                                                     "multipart/alternative |text/plain  x|text/html  y",
		`{"from":"a@example.org","to":"b@example.net","attachments":[{"content":"eA=="}]}`:                                        "application/octet-stream attachment x",
		`{"from":"a@example.org","to":"b@example.net","text":"x","attachments":[{"content_id":"c","content":"eA=="}]}`:            "multipart/mixed |text/plain  x|application/octet-stream attachment <c> x",
		`{"from":"a@example.org","to":"b@example.net","text":"","headers":{"Message-ID":"<own@example.org>"},"cc":null,"bcc":[]}`: "text/plain  ",
	} {
		w := ask(t, h, "POST", "/send/", body, asJSON)
		if w.Code != 202 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
			continue
		}
		if got := strings.Join(walk(t, f.last(t).body), "|"); got != want {
			t.Errorf("%s: %q", body, got)
		}
		if n := strings.Count(f.last(t).body, "Message-Id:"); n != 1 {
			t.Errorf("%d Message-Ids", n)
		}
	}
	ask(t, h, "POST", "/send/", `{"from":"a@example.org","to":"Renée <ré@bücher.example>","text":"x"}`, asJSON)
	if m := f.last(t); !m.options.UTF8 || !strings.Contains(m.body, "<ré@bücher.example>") || m.to[0] != "ré@bücher.example" {
		t.Errorf("%+v", m)
	}
}

// However long a subject is, the header's lines are not, and it is read as it was written.
func TestSubjects(t *testing.T) {
	f, h := serve(t)
	for name, subject := range map[string]string{
		"words":              strings.TrimSpace(strings.Repeat("folded ", 10_000/7)),
		"beyond ASCII":       strings.Repeat("ü", 10_000),
		"beyond the plane":   strings.Repeat("\U0001f600", 10_000),
		"a word without end": strings.Repeat("x", 10_000),
		"an encoded word":    "=?utf-8?q?x?= =?x",
		"one":                "x",
		"a colon":            "Re: x: y",
	} {
		if w := ask(t, h, "POST", "/send/", `{"from":"a@example.org","to":"b@example.net","text":"x","subject":"`+subject+`"}`, asJSON); w.Code != 202 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
			continue
		}
		r, err := gomail.CreateReader(strings.NewReader(f.last(t).body))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Header.Subject(); got != subject || err != nil {
			t.Errorf("%s: %.200q, %v", name, got, err)
		}
		for line := range strings.SplitSeq(f.last(t).body, "\r\n") {
			if len(line) > 78 { // RFC 5322 section 2.1.1
				t.Errorf("%s: a line of %d octets", name, len(line))
			}
		}
	}
}

// A date and ids that a client gives are its message's.
func TestGivenFields(t *testing.T) {
	f, h := serve(t)
	if w := ask(t, h, "POST", "/send/", `{"from":"a@example.org","to":"b@example.net","text":"x","headers":{"date":"Mon, 2 Jan 2006 15:04:05 +0100","Message-Id":"<1@example.org>","References":"<2@example.org> <3@example.org>"}}`, asJSON); w.Code != 202 {
		t.Fatal(w.Code, w.Body)
	}
	head, err := message.ReadHeader(strings.NewReader(f.last(t).body))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Date": "Mon, 2 Jan 2006 15:04:05 +0100", "Message-ID": "<1@example.org>", "References": "<2@example.org> <3@example.org>"} {
		if got := head.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Nothing that a client writes becomes a field of its own, or somebody else's.
func TestHostileDocuments(t *testing.T) {
	f, h := serve(t)
	with := func(more string) string {
		return `{"from":"a@example.org","to":"b@example.net","text":"x",` + more + `}`
	}
	long := strings.Repeat("x", 1000)
	for name, tt := range map[string]struct {
		body   string
		status int
	}{
		"line end in subject":     {with(`"subject":"a\r\nBcc: x@example.com"`), 422},
		"LF in subject":           {with(`"subject":"a\nBcc: x@example.com"`), 422},
		"CR in subject":           {with(`"subject":"a\rBcc: x@example.com"`), 422},
		"NUL in subject":          {with(`"subject":"a\u0000"`), 422},
		"NEL in subject":          {with(`"subject":"a\u0085b"`), 422},
		"line separator":          {with(`"subject":"a\u2028b"`), 422},
		"a subject without end":   {with(`"subject":"` + strings.Repeat("x ", 33_000) + `"`), 422},
		"a subject beyond that":   {with(`"subject":"` + strings.Repeat("x ", 70_000) + `"`), 422},
		"a word without end":      {with(`"headers":{"X":"` + long + `"}`), 422},
		"a name without end":      {`{"from":{"name":"` + long + `","address":"a@example.org"},"text":"x"}`, 422},
		"NUL in text":             {with(`"html":"a\u0000"`), 422},
		"two In-Reply-To":         {with(`"headers":{"In-Reply-To":"<a@b>","in-reply-to":"<c@d>"}`), 422},
		"two of a field":          {with(`"headers":{"X":"a","X":"b"}`), 400},
		"two subjects":            {with(`"subject":"a","subject":"b"`), 400},
		"two texts":               {with(`"text":"b"`), 400},
		"other case":              {with(`"Subject":"a"`), 400},
		"half a surrogate":        {with(`"subject":"\ud83d"`), 400},
		"halves the wrong way":    {with(`"html":"\ude00\ud83d"`), 400},
		"two first halves":        {with(`"html":"\ud83d\ud83d"`), 400},
		"an escape":               {with(`"html":"\x41"`), 400},
		"an escape cut short":     {with(`"html":"\u12"`), 400},
		"not UTF-8":               {with("\"html\":\"\xff\""), 400},
		"a surrogate in UTF-8":    {with("\"html\":\"\xed\xa0\x80\""), 400},
		"a line end in a text":    {with("\"html\":\"a\nb\""), 400},
		"deep":                    {with(`"cc":` + strings.Repeat("[", 100_000)), 400},
		"deep objects":            {with(`"headers":` + strings.Repeat(`{"x":`, 100_000)), 400},
		"null in a list":          {with(`"cc":[null]`), 400},
		"a list of lists":         {with(`"cc":[["b@example.net"]]`), 400},
		"no list":                 {with(`"attachments":{"content":""}`), 400},
		"a byte order mark":       {"\ufeff" + with(`"subject":"x"`), 400},
		"a comma too many":        {with(`"subject":"x",`), 400},
		"a comment":               {with(`/* x */"subject":"x"`), 400},
		"single quotes":           {`{'from':'a@example.org'}`, 400},
		"a misspelled null":       {with(`"cc":nuII`), 400},
		"data URL":                {with(`"attachments":[{"content":"data:text/plain;base64,eA=="}]`), 400},
		"base64url":               {with(`"attachments":[{"content":"_-8="}]`), 400},
		"base64 with spaces":      {with(`"attachments":[{"content":"eA= ="}]`), 400},
		"base64, other last bits": {with(`"attachments":[{"content":"eB=="}]`), 400},
		"line end in a name":      {`{"from":{"name":"a\r\nBcc: x","address":"a@example.org"},"text":"x"}`, 422},
		"line end in an address":  {`{"from":"a@example.org\r\nBcc: x","text":"x"}`, 422},
		"two addresses in one":    {`{"from":"a@example.org","to":"b@example.net, c@example.net","text":"x"}`, 422},
		"address behind a name":   {`{"from":"a@example.org","to":"b@example.net <c@example.net>, <d@example.net>","text":"x"}`, 202},
		"no domain":               {`{"from":"alice","text":"x"}`, 422},
		"empty address":           {`{"from":"","text":"x"}`, 422},
		"no from":                 {`{"to":"b@example.net","text":"x"}`, 422},
		"nothing":                 {`{"from":"a@example.org","to":"b@example.net"}`, 422},
		"nobody":                  {`{"from":"a@example.org","text":"x"}`, 400},
		"Received":                {with(`"headers":{"Received":"x"}`), 422},
		"Bcc":                     {with(`"headers":{"bCC":"x@example.org"}`), 422},
		"Return-Path":             {with(`"headers":{"Return-Path":"<x@example.org>"}`), 422},
		"From":                    {with(`"headers":{"From":"x@example.org"}`), 422},
		"Sender":                  {with(`"headers":{"Sender":"x@example.org"}`), 422},
		"Resent-From":             {with(`"headers":{"Resent-From":"x@example.org"}`), 422},
		"Content-Type":            {with(`"headers":{"Content-Type":"text/html"}`), 422},
		"DKIM-Signature":          {with(`"headers":{"DKIM-Signature":"x"}`), 422},
		"Authentication-Results":  {with(`"headers":{"Authentication-Results":"x"}`), 422},
		"a name with a colon":     {with(`"headers":{"X: y\r\nBcc":"x"}`), 422},
		"a name with a space":     {with(`"headers":{"Bcc ":"x"}`), 422},
		"an empty name":           {with(`"headers":{"":"x"}`), 422},
		"a name beyond ASCII":     {with(`"headers":{"Ä":"x"}`), 422},
		"a long name":             {with(`"headers":{"` + long + `":"x"}`), 422},
		"line end in a value":     {with(`"headers":{"X":"a\r\nBcc: x"}`), 422},
		"an empty value":          {with(`"headers":{"X":" \t "}`), 422},
		"two Message-IDs":         {with(`"headers":{"Message-ID":"<a@b> <c@d>"}`), 422},
		"a Message-ID cut short":  {with(`"headers":{"Message-ID":"a@b>"}`), 422},
		"References of something": {with(`"headers":{"References":"<a@b> c"}`), 422},
		"many headers":            {with(`"headers":{"X":["` + strings.Repeat(`a","`, 100) + `a"]}`), 422},
		"not base64":              {with(`"attachments":[{"content":"*"}]`), 400},
		"half base64":             {with(`"attachments":[{"content":"eA"}]`), 400},
		"base64 and more":         {with(`"attachments":[{"content":"eA==eA=="}]`), 400},
		"not a date":              {with(`"headers":{"Date":"yesterday"}`), 422},
		"two dates":               {with(`"headers":{"date":["Mon, 2 Jan 2006 15:04:05 +0100","Mon, 2 Jan 2006 15:04:05 +0100"]}`), 422},
		"no content":              {with(`"attachments":[{"filename":"x"}]`), 422},
		"a path":                  {with(`"attachments":[{"content":"","filename":"../x"}]`), 422},
		"line end in a filename":  {with(`"attachments":[{"content":"","filename":"x\r\nBcc: y"}]`), 422},
		"line end in a type":      {with(`"attachments":[{"content":"","type":"a/b;\r\nBcc: y"}]`), 422},
		"a multipart":             {with(`"attachments":[{"content":"","type":"multipart/mixed; boundary=x"}]`), 422},
		"a message":               {with(`"attachments":[{"content":"","type":"message/rfc822"}]`), 422},
		"a long type":             {with(`"attachments":[{"content":"","type":"a/b; c=` + long + `"}]`), 422},
		"a long filename":         {with(`"attachments":[{"content":"","filename":"` + strings.Repeat("ü", 200) + `"}]`), 422},
		"no type":                 {with(`"attachments":[{"content":"","type":"pdf"}]`), 422},
		"a charset":               {with(`"attachments":[{"content":"","type":"text/plain; charset=koi8-r"}]`), 422},
		"a content id":            {with(`"attachments":[{"content":"","content_id":"a>\r\nBcc: x"}]`), 422},
		"misspelled":              {with(`"bccc":"x@example.net"`), 400},
		"misspelled mailbox":      {`{"from":{"mail":"a@example.org"},"text":"x"}`, 400},
		"a number":                {with(`"subject":1`), 400},
		"not JSON":                {"{", 400},
		"two documents":           {with(`"subject":"a"`) + with(`"subject":"b"`), 400},
		"a list":                  {"[]", 400},
		"null":                    {"null", 400},
	} {
		t.Run(name, func(t *testing.T) {
			n := len(f.messages)
			w := ask(t, h, "POST", "/send/", tt.body, asJSON)
			if w.Code != tt.status || len(f.messages) > n != (tt.status == 202) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), "httpsubmit.") {
				t.Errorf("names of ours: %s", w.Body)
			}
		})
	}
	if w := ask(t, h, "POST", "/send/?to=b@example.net", with(`"subject":""`), asJSON); w.Code != 400 {
		t.Error(w.Code, w.Body)
	}
}

// What is wrong is said by its place in the document.
func TestPlaces(t *testing.T) {
	_, h := serve(t)
	for body, want := range map[string]string{
		`{"from":"a@example.org","bccc":"x"}`:                                         "bccc: a member that is not known",
		`{"attachments":[{"content":"eA=="},{"content":"eA=="},{"content":"eA==*"}]}`: "attachments[2].content: not base64 (RFC 4648 section 4), from octet 4 on",
		`{"attachments":[{"content":"` + strings.Repeat("eHh4", 4000) + `*"}]}`:       "attachments[0].content: not base64 (RFC 4648 section 4), from octet 16000 on",
		`{"attachments":[{"content":"eA==\uD800"}]}`:                                  "attachments[0].content: a text has half of a surrogate pair",
		`{"attachments":[{"content":"eA==","filname":"x"}]}`:                          "attachments[0].filname: a member that is not known",
		`{"from":{"address":7}}`:                                                      "from.address: a number is not expected here, but a text",
		`{"to":["a@example.org",true]}`:                                               "to[1]: true is not expected here, but a text or an object",
		`{"to":["a@example.org","b"]}`:                                                "to[1] is not complete: write local-part@domain.example",
		`{"cc":"a@"}`:                                                                 "cc is malformed: write local-part@domain.example, name <local-part@domain.example>, or an object with address and name",
		`{"headers":{"X-A":{}}}`:                                                      "headers.X-A: an object is not expected here, but a text",
		`{"subject":"x"`:                                                              "JSON: the JSON ends here, and is not complete",
		`{"subject":"x`:                                                               "subject: the JSON ends here, and is not complete",
		`{"subject" "x"`:                                                              `JSON: expected a colon behind "subject"`,
		`{"subject":"x" "text":""}`:                                                   `JSON: expected a comma, or '}'`,
		`{"html":"a\u0000b"}`:                                                         "html has a NUL octet",
		`{"subject":"` + strings.Repeat("x", maxShort+1) + `"}`:                       "subject is longer than 131072 octets",
		`{"` + strings.Repeat("x", 300) + `":1}`:                                      "JSON is longer than 256 octets",
	} {
		if w := ask(t, h, "POST", "/send/", body, asJSON); saying(t, w).Detail != want {
			t.Errorf("%.100s: %d %s", body, w.Code, w.Body)
		}
	}
}

// What is held in memory is bounded, of each document and of all.
func TestMemory(t *testing.T) {
	f, h := serve(t)
	many := func(member, element string, n int) string {
		return `{"from":"a@example.org","to":"b@example.net","text":"x","` + member + `":[` + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]}"
	}
	headers := func(values string) string {
		return `{"from":"a@example.org","to":"b@example.net","text":"x","headers":{` + values + "}}"
	}
	var names strings.Builder
	for i := range 70_000 {
		fmt.Fprintf(&names, `,"%d":[]`, i)
	}
	f.settings.Recipients = 10_000
	if w := ask(t, h, "POST", "/send/", many("cc", `"c@example.net"`, 10_000), asJSON); w.Code != 202 {
		t.Error(w.Code, w.Body)
	}
	for _, body := range []string{many("cc", `"c@example.net"`, 50_000), many("attachments", "{}", 5000), headers(`"X":["` + strings.Repeat(`","`, 70_000) + `"]`),
		headers(names.String()[1:])} {
		if w := ask(t, h, "POST", "/send/", body, asJSON); w.Code != 413 || saying(t, w).Enhanced != "5.3.4" {
			t.Error(w.Code, w.Body)
		}
	}
	if !memory.TryAcquire(inMemory) {
		t.Fatal("something is held")
	}
	if w := ask(t, h, "POST", "/send/", many("cc", `"c@example.net"`, 1000), asJSON); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Error(w.Code, w.Body)
	}
	if w := ask(t, h, "POST", "/send/", many("cc", `"c@example.net"`, 10), asJSON); w.Code != 202 { // each has a little
		t.Error(w.Code, w.Body)
	}
	memory.Release(inMemory)
}

// Whatever the document says, what is made of it has the addresses that it says, and is read alike by others.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		`{"from":"a@example.org","to":["Bob <b@example.net>",{"name":"ä","address":"c@example.net"}],"subject":"x y","text":"z","html":"<p>","attachments":[{"filename":"ü","content":"eA==","content_id":"i"}],"headers":{"X-A":"b","Y":["ä"]}}`,
		`{"from":{"name":"\"\\","address":"\"a b\"@example.org"},"bcc":"x@example.net","text":"\r.\n"}`,
		`{"from":"a@example.org","to":"\"x <y\" <b@example.net>","cc":"(c) <c@example.net>","reply_to":"; <d@example.net>","text":""}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &document{spill: &spill{most: 1 << 20}}
		if err := d.read(newJSONReader(bytes.NewReader(b), func(int) error { return nil })); err != nil || d.spill.size > spillFrom {
			return
		}
		m, err := d.prepare()
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := m.write(&out); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if bare := strings.ReplaceAll(text, "\r\n", ""); strings.ContainsAny(bare, "\r\n\x00") {
			t.Fatalf("bare line ends: %q", text)
		}
		h, err := message.ReadHeader(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if h.Count("From") != 1 || h.Count("Bcc") != 0 || h.Count("Subject") > 1 || h.Count("Message-Id") != 1 || h.Count("Received") != 0 || h.Count("Content-Type") != 1 {
			t.Fatalf("%q", text)
		}
		for name, list := range map[string]mailboxes{"From": {*d.from}, "To": d.to, "Cc": d.cc, "Reply-To": d.replyTo} {
			read, err := h.Mailboxes(name)
			if err != nil || len(read) != len(list) {
				t.Fatalf("%s: %v, %v: %q", name, read, err, text)
			}
			for i := range list {
				if read[i].Exact != list[i].Exact {
					t.Fatalf("%s: %v became %v", name, list[i].Exact, read[i].Exact)
				}
			}
		}
		if !m.utf8 {
			head, _, _ := strings.Cut(text, "\r\n\r\n")
			if strings.ContainsFunc(head, func(r rune) bool { return r >= 0x7f }) {
				t.Fatalf("octets beyond ASCII: %q", head)
			}
			if from, err := mail.ParseAddress(h.Values("From")[0]); err == nil && from.Address != d.from.Exact && !strings.Contains(d.from.Exact, `"`) && !strings.Contains(d.from.Exact, "[") {
				t.Fatalf("%q is read as %q by others", d.from.Exact, from.Address)
			}
		}
		want := 1
		if len(m.body.parts) > 0 {
			want = 2
		}
		if n := len(walk(t, text)); n < want {
			t.Fatalf("%d entities: %q", n, text)
		}
	})
}
