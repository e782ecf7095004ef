package httpconsole

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
)

// visit is a request for a page, and what its template sees.
type visit struct {
	c *Console
	r *http.Request

	User    string // whom the site has authenticated
	MayAct  bool
	Content bool
	Page    *page
	Query   url.Values
	Notice  *notice
	Ask     *question // instead of the page, where it is set
	Data    any
}

// notice is what became of an action.
type notice struct {
	Bad   bool
	Text  string
	Lines []string
}

func (c *Console) visit(r *http.Request) *visit {
	v := &visit{c: c, r: r, Content: c.Content, Query: r.URL.Query()}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		v.User, _ = repl.GetString("http.auth.user.id")
	}
	v.MayAct = c.Actions && v.User != ""
	return v
}

// page answers with a page, or, where part=live is asked for, with what of it changes.
func (v *visit) page(w http.ResponseWriter, p *page) error {
	v.Page = p
	switch v.r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		if err := v.mayPost(w); err != nil {
			return err
		}
		if p.act == nil {
			return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("there is nothing to be done on this page"))
		}
		if err := p.act(v); err != nil {
			v.Notice = &notice{Bad: true, Text: said(err)}
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return caddyhttp.Error(http.StatusMethodNotAllowed, errors.New("use GET, or POST for what changes something"))
	}
	if v.Ask == nil {
		if err := v.load(); err != nil {
			return err
		}
	}
	part := "page"
	if v.Query.Get("part") == "live" && v.r.Method == http.MethodGet {
		part = "live"
	}
	html, err := v.render(part)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err = w.Write(html)
	return err
}

func (v *visit) load() (err error) {
	v.Data, err = v.Page.load(v)
	return err
}

// render makes HTML in which every character can be seen.
func (v *visit) render(part string) ([]byte, error) {
	var b bytes.Buffer
	if err := v.Page.template.ExecuteTemplate(&b, part, v); err != nil {
		return nil, fmt.Errorf("page %s: %w", v.Page.Name, err)
	}
	return visibleHTML(b.Bytes()), nil
}

// sum tells what was rendered from what is rendered later.
func sum(html []byte) [sha256.Size]byte { return sha256.Sum256(html) }

// sameOrigin refuses what another site has a browser send: the browser says where it comes from.
var sameOrigin = http.NewCrossOriginProtection()

const maxForm = 1 << 20

// mayPost tells why a form is not heeded.
func (v *visit) mayPost(w http.ResponseWriter) error {
	switch {
	case !v.c.Actions:
		return caddyhttp.Error(http.StatusForbidden, errors.New("this console is for looking only: its configuration has no actions"))
	case v.User == "":
		return caddyhttp.Error(http.StatusForbidden, errors.New("actions need a user whom this site has authenticated, such as by basic_auth"))
	}
	if err := sameOrigin.Check(v.r); err != nil {
		return caddyhttp.Error(http.StatusForbidden, errors.New("the form comes from another site"))
	}
	v.r.Body = http.MaxBytesReader(w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return caddyhttp.Error(http.StatusBadRequest, fmt.Errorf("the form cannot be read: %w", err))
	}
	return nil
}

// fail answers with an error.
func (v *visit) fail(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable {
		v.c.log.Error("console", zap.String("path", v.r.URL.Path), zap.Error(err))
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	v.Page, v.Data = failure, &failed{status, http.StatusText(status), said(err)}
	html, err := v.render("page")
	if err != nil {
		http.Error(w, http.StatusText(status), status)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(html)
}

// failed is what the page of a failure shows.
type failed struct {
	Status     int
	Name, Text string
}

func statusOf(err error) int {
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok && he.StatusCode != 0 {
		return he.StatusCode
	}
	if api, ok := errors.AsType[caddy.APIError](err); ok && api.HTTPStatus != 0 {
		return api.HTTPStatus
	}
	return http.StatusInternalServerError
}

// said is what is said of an error.
func said(err error) string {
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok && he.Err != nil {
		return he.Err.Error()
	}
	if api, ok := errors.AsType[caddy.APIError](err); ok && api.Err != nil {
		return api.Err.Error()
	}
	return err.Error()
}

// get asks the admin API.
func (v *visit) get(path string, query url.Values, into any) error {
	answer, err := v.ask(http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer.body.Bytes(), into)
}

// post has the admin API do something.
func (v *visit) post(path string, request, into any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := v.ask(http.MethodPost, path, nil, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer.body.Bytes(), into)
}

var errNotRunning = caddyhttp.Error(http.StatusServiceUnavailable, errors.New("the mail submission server is not running yet; try again in a moment"))

func (v *visit) ask(method, path string, query url.Values, body []byte) (*answer, error) {
	a := &answer{header: make(http.Header)}
	return a, v.askInto(a, method, path, query, body)
}

func (v *visit) askInto(a *answer, method, path string, query url.Values, body []byte) error {
	app, ok := running.App[running.Admin]()
	if !ok {
		return errNotRunning
	}
	r, err := http.NewRequestWithContext(v.r.Context(), method, (&url.URL{Path: path, RawQuery: query.Encode()}).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.RemoteAddr = v.r.RemoteAddr
	return app.ServeAdmin(a, r, running.Operator{Name: v.User, Content: v.c.Content})
}

// answer is what the admin API writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	most   int // octets that are kept; 0 for all
}

func (a *answer) Header() http.Header    { return a.header }
func (a *answer) WriteHeader(status int) { a.status = status }

var errCut = errors.New("the rest is not shown")

// Write keeps what is wanted.
func (a *answer) Write(p []byte) (int, error) {
	if a.most > 0 && a.body.Len()+len(p) > a.most {
		n, _ := a.body.Write(p[:a.most-a.body.Len()])
		return n, errCut
	}
	return a.body.Write(p)
}

// lastPart is what follows the last slash of a path.
func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
