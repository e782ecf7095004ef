package httpconsole

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
)

// tryPage is what can be tried, and what came of it.
type tryPage struct {
	Servers []string
	Form    tryForm

	Message *adminapi.TriedMessage
	Login   []adminapi.AuthTestAnswer
	Doctor  *adminapi.DoctorAnswer
}

// tryForm is what was typed, passwords excepted.
type tryForm struct {
	What, Server, User, From, To, Subject, IP, Domains string
	StartTLS                                           bool
}

func loadTry(v *visit) (any, error) {
	p, ok := v.Data.(*tryPage)
	if !ok {
		p = new(tryPage)
	}
	var err error
	p.Servers, err = servers(v)
	return p, err
}

// try does what the form asks for. Its answer is part of the page.
func try(v *visit) error {
	form := v.r.PostForm
	f := tryForm{What: form.Get("do"), Server: form.Get("server"), User: strings.TrimSpace(form.Get("user")), From: strings.TrimSpace(form.Get("from")),
		Domains: form.Get("domains"), To: form.Get("to"), Subject: form.Get("subject"), IP: strings.TrimSpace(form.Get("ip")), StartTLS: form.Get("tls") == "starttls"}
	p := &tryPage{Form: f}
	v.Data = p
	switch f.What {
	case "message":
		to := several(f.To)
		p.Message = new(adminapi.TriedMessage)
		err := v.post("/msa/try/message", &adminapi.TryMessage{Server: f.Server, StartTLS: f.StartTLS, User: f.User, Password: form.Get("password"), From: f.From, To: to, Subject: f.Subject}, p.Message)
		if err != nil {
			p.Message = nil
		}
		return err
	case "login":
		return v.post("/msa/auth/test", &adminapi.AuthTestRequest{Server: f.Server, User: f.User, Password: form.Get("password"), IP: f.IP}, &p.Login)
	case "doctor":
		p.Doctor = new(adminapi.DoctorAnswer)
		err := v.post("/msa/doctor", &adminapi.DoctorRequest{Server: f.Server, Domains: several(f.Domains), Outside: form.Get("outside") != ""}, p.Doctor)
		if err != nil {
			p.Doctor = nil
		}
		return err
	}
	return caddyhttp.Error(http.StatusBadRequest, errors.New("choose what is to be tried"))
}

// several are the words of a field.
func several(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' })
}
