package httpconsole

import (
	"bytes"
	"embed"
	"html/template"
	"mime"
	"net/http"
	"path"
	"time"
)

// web are the pages' templates, styles and scripts.
//
//go:embed web
var web embed.FS

// assets are what pages refer to, by name.
var assets = map[string][]byte{"console.css": asset("console.css"), "console.js": asset("console.js"), "icon.svg": asset("icon.svg")}

func asset(name string) []byte {
	b, err := web.ReadFile("web/" + name)
	if err != nil {
		panic(err)
	}
	return b
}

func serveAsset(w http.ResponseWriter, r *http.Request, name string) bool {
	b, ok := assets[name]
	if !ok {
		return false
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	return true
}

// page is one of the console's.
type page struct {
	Name     string // in its address
	Title    string
	template *template.Template
	load     func(*visit) (any, error)
	act      func(*visit) error // does what a form asks for; nil: there is nothing to do
}

// Live tells whether the page changes by itself.
func (p *page) Live() bool { return p.template.Lookup("still") == nil }

// pages by name, and their order in the menu.
var (
	pages = make(map[string]*page)
	menu  []*page
)

func init() {
	for _, p := range []*page{
		{Name: "", Title: "Now", load: loadNow},
		{Name: "messages", Title: "Messages", load: loadMessages, act: actOnMessages},
		{Name: "lanes", Title: "Lanes", load: loadLanes, act: actOnLane},
		{Name: "guesses", Title: "Guesses", load: loadGuesses, act: liftBlock},
		{Name: "config", Title: "Configuration", load: loadConfig},
		{Name: "try", Title: "Try", load: loadTry, act: try},
		{Name: "doctor", Title: "Doctor", load: loadDoctor, act: examine},
	} {
		add(p, true)
	}
	add(&page{Name: "message", Title: "Message", load: loadMessage, act: actOnMessages}, false)
	add(&page{Name: "source", Title: "Source", load: loadSource}, false)
}

// failure is the page of an error.
var failure = parsed(&page{Name: "failure", Title: "Error"})

func add(p *page, inMenu bool) {
	pages[p.Name] = parsed(p)
	if inMenu {
		menu = append(menu, p)
	}
}

func parsed(p *page) *page {
	file := p.Name
	if file == "" {
		file = "now"
	}
	p.template = template.Must(template.New(file).Funcs(functions).Funcs(template.FuncMap{"menu": func() []*page { return menu }}).
		ParseFS(web, "web/layout.html", "web/"+file+".html"))
	return p
}
