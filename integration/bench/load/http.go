package load

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// post is what a client of msa_submit writes for one message.
func (p *prepared) post() []byte {
	query := url.Values{"from": {p.From}}
	for i := range p.Recipients {
		query.Add("to", recipient(p.To, i))
	}
	body := bytes.TrimSuffix(p.text, []byte(".\r\n"))
	r, err := http.NewRequest(http.MethodPost, "https://localhost/send/?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		panic(err) // of our own making
	}
	r.Header.Set("Content-Type", "message/rfc822")
	r.SetBasicAuth(p.User, p.Password)
	var b bytes.Buffer
	_ = r.Write(&b)
	return b.Bytes()
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
