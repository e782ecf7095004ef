package httpsubmit

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"crypto/sha256"

	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// To, Cc and Bcc are the recipients, and Bcc is all that is left out.
func TestEnvelopeHeader(t *testing.T) {
	for name, tt := range map[string]struct {
		query, message string
		status         int
		from, to       string
		stored         string // "": as it is
	}{
		"all": {message: "Subject: x\r\nFROM: Alice <alice@example.org>\r\nBcc: c@example.net,\r\n\t\"D\" <d@example.net>\r\nto : bob@example.net\r\nCC: B <bob@example.net>, e@example.net\r\n\r\nBcc: stays\r\n",
			status: 202, from: "alice@example.org", to: "bob@example.net e@example.net c@example.net d@example.net",
			stored: "Subject: x\r\nFROM: Alice <alice@example.org>\r\nto : bob@example.net\r\nCC: B <bob@example.net>, e@example.net\r\n\r\nBcc: stays\r\n"},
		"groups": {message: "From: a@example.org\r\nTo: Friends: b@example.net, \"C, D\" <c@example.net>;, d@example.net\r\nTo: Others:e@example.net;\r\nCc: nobody:;\r\nBcc: g:f@example.net;\r\n\r\n", status: 202, from: "a@example.org",
			to:     "b@example.net c@example.net d@example.net e@example.net f@example.net",
			stored: "From: a@example.org\r\nTo: Friends: b@example.net, \"C, D\" <c@example.net>;, d@example.net\r\nTo: Others:e@example.net;\r\nCc: nobody:;\r\n\r\n"},
		"Bcc folded at once":     {message: "From: a@example.org\r\nBcc:\r\n b@example.net,\r\n\tc@example.net\r\nTo: d@example.net\r\n\r\n", status: 202, from: "a@example.org", to: "d@example.net b@example.net c@example.net", stored: "From: a@example.org\r\nTo: d@example.net\r\n\r\n"},
		"an empty Bcc":           {message: "From: a@example.org\r\nBcc: \r\nTo: d@example.net\r\n\r\n", status: 202, from: "a@example.org", to: "d@example.net", stored: "From: a@example.org\r\nTo: d@example.net\r\n\r\n"},
		"resent by":              {message: "From: a@example.org\r\nTo: c@example.net\r\nResent-From: d@example.net\r\n\r\n", status: 202, from: "a@example.org", to: "c@example.net"},
		"resent, unseen":         {message: "From: a@example.org\r\nTo: c@example.net\r\nResent-Bcc: d@example.net\r\n\r\n", status: 422},
		"no Bcc":                 {message: letter, status: 202, from: "alice@example.org", to: "bob@example.net"},
		"header only":            {message: "From: a@example.org\r\nBcc: b@example.net\r\nTo: c@example.net\r\n", status: 202, from: "a@example.org", to: "c@example.net b@example.net", stored: "From: a@example.org\r\nTo: c@example.net\r\n"},
		"Bcc at the end":         {message: "From: a@example.org\r\nTo: c@example.net\r\nBcc: b@example.net", status: 202, from: "a@example.org", to: "c@example.net b@example.net", stored: "From: a@example.org\r\nTo: c@example.net\r\n"},
		"two of Bcc":             {message: "bcc: b@example.net\r\nFrom: a@example.org\r\nBCC : c@example.net\r\n\r\n", status: 202, from: "a@example.org", to: "b@example.net c@example.net", stored: "From: a@example.org\r\n\r\n"},
		"from in the query":      {query: "&from=x@example.org", message: letter, status: 202, from: "x@example.org", to: "bob@example.net"},
		"null sender":            {query: "&from=", message: letter, status: 202, from: "", to: "bob@example.net"},
		"two in From":            {message: "From: a@example.org, b@example.org\r\nSender: b@example.org\r\nTo: c@example.net\r\n\r\n", status: 202, from: "b@example.org", to: "c@example.net"},
		"two in From, no Sender": {message: "From: a@example.org, b@example.org\r\nTo: c@example.net\r\n\r\n", status: 422},
		"undisclosed":            {message: "From: a@example.org\r\nTo: undisclosed-recipients:;\r\nBcc: c@example.net\r\n\r\n", status: 202, from: "a@example.org", to: "c@example.net", stored: "From: a@example.org\r\nTo: undisclosed-recipients:;\r\n\r\n"},
		"nobody":                 {message: "From: a@example.org\r\n\r\nTo: c@example.net\r\n", status: 400},
		"no From":                {message: "To: c@example.net\r\n\r\n", status: 422},
		"nonsense":               {message: "From: a@example.org\r\nTo: <<>\r\n\r\n", status: 422},
		"resent":                 {message: "From: a@example.org\r\nTo: c@example.net\r\nResent-To: d@example.net\r\n\r\n", status: 422},
		"to in the query":        {query: "&to=x@example.org", message: letter, status: 400},
		"a bare CR":              {message: "From: a@example.org\r\nTo: c@example.net\rBcc: d@example.net\r\n\r\n", status: 422},
		"bare LF":                {message: "From: a@example.org\nTo: c@example.net\nBcc: d@example.net\n\n", status: 422},
		"endless":                {message: strings.Repeat("X: y\r\n", 300_000), status: 422},
		"nothing":                {message: "", status: 422},
	} {
		t.Run(name, func(t *testing.T) {
			for _, slow := range []bool{false, true} {
				f, h := serve(t)
				var body io.Reader = strings.NewReader(tt.message)
				if slow && len(tt.message) < 10_000 {
					body = slowly{body}
				}
				w := askWith(t, h, "POST", "/send/?envelope=header"+tt.query, body, nil)
				if w.Code != tt.status {
					t.Fatal(w.Code, w.Body)
				}
				if tt.status != 202 {
					continue
				}
				if tt.stored == "" {
					tt.stored = tt.message
				}
				if m := f.last(t); m.from != tt.from || strings.Join(m.to, " ") != tt.to || m.body != tt.stored {
					t.Errorf("%+v", m)
				}
			}
		})
	}
}

// Whatever is posted: what is kept of it is what was there, without Bcc.
func FuzzEnvelopeHeader(f *testing.F) {
	f.Add([]byte(letter))
	f.Add([]byte("From: a@example.org\r\nBcc: b@example.net\r\n\t, c@example.net\r\nx\r\nTo: d@example.net\r\n\r\nBcc: body\r\n"))
	f.Add([]byte(" Bcc: x@example.net\nbcc :y@example.net\n\nTo: z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHeader(&bodyReader{r: requestOf(t, strings.NewReader(string(b))), header: make(http.Header), control: noControl(), sum: sha256.New(), now: time.Now})
		if err != nil {
			return
		}
		whole := append([]byte(nil), joined(h.fields)...)
		e := new(smtpd.Envelope)
		m, err := h.envelope(e, nil)
		if err != nil {
			return
		}
		stored, err := io.ReadAll(m)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(b), string(whole)) || !strings.HasSuffix(string(stored), string(b[len(whole):])) {
			t.Fatalf("%q became %q", b, stored)
		}
		left, err := message.ReadHeader(strings.NewReader(string(stored)))
		if err != nil {
			t.Fatal(err)
		}
		if left.Count("Bcc") != 0 {
			t.Fatalf("%q became %q", b, stored)
		}
	})
}

func joined(h message.Header) (all []byte) {
	for _, f := range h {
		all = append(all, f.Raw...)
	}
	return all
}

func requestOf(t testing.TB, body io.Reader) *http.Request {
	t.Helper()
	return httptest.NewRequest("POST", "/send/", body)
}

// noControl is of an answer that nobody waits for.
func noControl() *http.ResponseController { return http.NewResponseController(httptest.NewRecorder()) }
