package authsql

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// query is the operator's query as the database takes it: names in braces have become
// parameters, once and for all, and no value ever becomes part of the text.
type query struct {
	text string
	args []string // of parameter names, in the order in which values are bound
}

// values are bound to the parameters for a user name.
func (q query) values(name string) []any {
	local, domain := name, ""
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		local, domain = name[:i], name[i+1:]
	}
	all := make([]any, len(q.args))
	for i, arg := range q.args {
		switch arg {
		case "user":
			all[i] = name
		case "local":
			all[i] = local
		case "domain":
			all[i] = domain
		}
	}
	return all
}

// token is a piece of SQL in which braces, or what looks like a parameter, may mean something
// else: quoted text, a comment, a name in braces, a parameter in the database's own words.
var tokens = map[bool]*regexp.Regexp{
	false: regexp.MustCompile(`(?s)'(?:[^']|'')*(?:'|$)|"(?:[^"]|"")*(?:"|$)|` + common),
	true:  regexp.MustCompile(`(?s)'(?:[^'\\]|''|\\.)*(?:'|$)|"(?:[^"\\]|""|\\.)*(?:"|$)|` + common), // MySQL
}

const common = "`[^`]*(?:`|$)" + `|--[^\n]*|/\*.*?(?:\*/|$)|\{[a-zA-Z0-9_.]*\}|\?[0-9]*|\$[0-9]+`

var quotedName = regexp.MustCompile(`\{(user|local|domain)\}`)

// parseQuery makes parameters of {user}, {local} and {domain}.
func parseQuery(d driver, text string) (q query, err error) {
	var bound []string
	q.text = tokens[d.backslashes].ReplaceAllStringFunc(text, func(token string) string {
		switch c := token[0]; {
		case c == '\'' || c == '"' || c == '`':
			if name := quotedName.FindString(token); name != "" && err == nil {
				err = fmt.Errorf("%s stands within quotes; write it without: it becomes a parameter, not text", name)
			}
			return token
		case c == '-' || c == '/':
			return token
		case c != '{':
			if d.own.MatchString(token) && err == nil {
				err = fmt.Errorf("%s is a parameter of nothing; write {user}, {local} or {domain}", token)
			}
			return token
		}
		name := token[1 : len(token)-1]
		if name != "user" && name != "local" && name != "domain" {
			if err == nil {
				err = fmt.Errorf("%s is not known; there are {user}, {local} and {domain}", token)
			}
			return token
		}
		if d.positional { // each by itself
			q.args = append(q.args, name)
			return "?"
		}
		for i, b := range bound {
			if b == name {
				return fmt.Sprintf(d.numbered, i+1)
			}
		}
		bound = append(bound, name)
		return fmt.Sprintf(d.numbered, len(bound))
	})
	if err != nil {
		return query{}, fmt.Errorf("query: %w", err)
	}
	q.args = append(q.args, bound...)
	for _, name := range q.args {
		if name != "domain" {
			return q, nil
		}
	}
	return query{}, errors.New("query: it does not ask for the user; say WHERE username = {user}, or {local} and {domain}")
}
