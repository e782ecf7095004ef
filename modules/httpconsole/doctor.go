package httpconsole

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
)

// doctorPage is what can be looked at, and what was found.
type doctorPage struct {
	Servers         []string
	Server, Domains string // as typed

	Looked bool
	Levels []level // the worst first
}

// level has the findings of one.
type level struct {
	doctor.Level
	Class    string // of its chip
	Findings []doctor.Finding
}

// classes of chips, by level.
var classes = map[doctor.Level]string{doctor.Wrong: "bad", doctor.Warn: "warn", doctor.OK: "good", doctor.Skipped: "plain"}

func loadDoctor(v *visit) (any, error) {
	p, ok := v.Data.(*doctorPage)
	if !ok {
		p = new(doctorPage)
	}
	var err error
	p.Servers, err = servers(v)
	return p, err
}

// examine has the servers look at themselves. They connect to others then, so it takes one who may act.
func examine(v *visit) error {
	form := v.r.PostForm
	if form.Get("do") != "examine" {
		return caddyhttp.Error(http.StatusBadRequest, errors.New("there is no such action here"))
	}
	p := &doctorPage{Server: form.Get("server"), Domains: form.Get("domains")}
	v.Data = p
	answer := new(adminapi.DoctorAnswer)
	domains := strings.FieldsFunc(p.Domains, func(r rune) bool { return r == ',' || r == ' ' })
	if err := v.post("/msa/doctor", &adminapi.DoctorRequest{Server: p.Server, Domains: domains, Outside: true}, answer); err != nil {
		return err
	}
	p.Looked = true
	for _, l := range []doctor.Level{doctor.Wrong, doctor.Warn, doctor.Skipped, doctor.OK} {
		found := slices.DeleteFunc(slices.Clone(answer.Findings), func(f doctor.Finding) bool { return f.Level != l })
		p.Levels = append(p.Levels, level{l, classes[l], found})
	}
	return nil
}
