package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// post is what a client of msa_submit writes for one message.
func (p *prepared) post() []byte {
	var to []string
	for i := range p.Recipients {
		to = append(to, recipient(p.To, i))
	}
	kind, query := "message/rfc822", url.Values{"from": {p.From}, "to": to}
	body := bytes.TrimSuffix(p.text, []byte(".\r\n"))
	if p.JSON {
		kind, query, body = "application/json", nil, p.document(to, body)
	}
	r, err := http.NewRequest(http.MethodPost, "https://localhost/send/?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		panic(err) // of our own making
	}
	r.Header.Set("Content-Type", kind)
	r.SetBasicAuth(p.User, p.Password)
	var b bytes.Buffer
	_ = r.Write(&b)
	return b.Bytes()
}

// document is about as large as the message, of which it attaches as much as fits.
func (p *prepared) document(to []string, message []byte) []byte {
	b, err := json.Marshal(map[string]any{"from": p.From, "to": to, "subject": "bench", "text": "bench\n",
		"attachments": []any{map[string]any{"filename": "bench", "content": message[:len(message)*3/4]}}})
	if err != nil {
		panic(err)
	}
	return b
}

// sendHTTP submits one message, by the connection that there is.
func (s *session) sendHTTP(observe func(Phase, time.Time)) error {
	began := time.Now()
	if _, err := s.nc.Write(s.p.request); err != nil {
		return failed("post", err)
	}
	response, err := http.ReadResponse(s.r, nil)
	if err != nil {
		return failed("accept", err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	if err != nil {
		return failed("accept", err)
	}
	if response.StatusCode != http.StatusAccepted {
		return &failure{"accept", fmt.Sprint(response.StatusCode)}
	}
	observe(Data, began)
	observe(Message, began)
	return nil
}
