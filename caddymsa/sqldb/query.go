package sqldb

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Query is an operator's query as the database takes it: names in braces have become
// parameters, once and for all, and no value ever becomes part of the text.
type Query struct {
	text string
	args []string // of parameter names, in the order in which values are bound
}

// values are bound to the parameters.
func (q Query) values(value func(name string) string) []any {
	all := make([]any, len(q.args))
	for i, arg := range q.args {
		all[i] = value(arg)
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

// parseQuery makes parameters of names in braces.
func parseQuery(d driver, text string, names []string) (q Query, err error) {
	var bound []string
	quotedName := regexp.MustCompile(`\{(` + strings.Join(names, "|") + `)\}`)
	var braced []string
	for _, name := range names {
		braced = append(braced, "{"+name+"}")
	}
	last := len(braced) - 1
	known := strings.Join(braced[:last], ", ")
	q.text = tokens[d.backslashes].ReplaceAllStringFunc(text, func(token string) string {
		switch c := token[0]; {
		case c == '\'' || c == '"' || c == '`':
			if name := quotedName.FindString(token); name != "" && err == nil {
				err = fmt.Errorf("%s is within quotes; write it without them: it becomes a parameter, not text", name)
			}
			return token
		case c == '-' || c == '/':
			return token
		case c != '{':
			if d.own.MatchString(token) && err == nil {
				err = fmt.Errorf("%s is not a parameter here; write %s or %s", token, known, braced[last])
			}
			return token
		}
		name := token[1 : len(token)-1]
		if !slices.Contains(names, name) {
			if err == nil {
				err = fmt.Errorf("%s is not known; there are %s and %s", token, known, braced[last])
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
		return Query{}, fmt.Errorf("query: %w", err)
	}
	q.args = append(q.args, bound...)
	return q, nil
}

// Asks tells whether the query has a parameter of that name.
func (q Query) Asks(name string) bool { return slices.Contains(q.args, name) }
