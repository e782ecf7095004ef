// Package redact takes the secrets out of a configuration, so that it can be shown. What is one, the types of modules say
// (conf.Secret); of what has no such types, names and forms do.
package redact

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// Redacted stands for a secret.
const Redacted = "REDACTED"

var (
	// secretName is a name that calls its value a secret, whoever wrote the module.
	secretName = regexp.MustCompile(`(?i)passw|passphrase|secret|token$|tokens$|bearer|credential|authorization|cookie|api.?key|private.?key|hmac|^pin$`)
	// placeholder is a value that only says where the secret is.
	placeholder = regexp.MustCompile(`^\{[^{}]+\}$`)
	inURL       = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*):[^/\s]*@`)
	inText      = regexp.MustCompile(`(?i)\b([\w.-]*(?:passw\w*|pwd|secret|token|api[_-]?key)\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s&;,'"]+)`)
	inHeader    = regexp.MustCompile(`(?i)\b(bearer|basic)\s+\S+`)
)

// Config is raw, which is a T's, without its secrets.
func Config[T any](raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return typed(v, reflect.TypeFor[T](), ""), nil
}

var (
	durationType      = reflect.TypeFor[conf.Duration]()
	caddyDurationType = reflect.TypeFor[caddy.Duration]()

	secretType = reflect.TypeFor[conf.Secret]()
	rawType    = reflect.TypeFor[json.RawMessage]()
)

// typed goes through a value by its type; name is that of the field that it is in.
func typed(v any, t reflect.Type, name string) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case string:
		if t == secretType {
			return secret(v)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil && n > 0 && (t == durationType || t == caddyDurationType) {
			return time.Duration(n).String()
		}
	case map[string]any:
		switch {
		case t.Kind() == reflect.Struct:
			return object(v, t)
		case t.Kind() == reflect.Map:
			return each(v, func(key string, e any) any { return typed(e, t.Elem(), key) })
		}
	case []any:
		if t.Kind() == reflect.Slice && t != rawType || t.Kind() == reflect.Array {
			return all(v, func(e any) any { return typed(e, t.Elem(), name) })
		}
	}
	return untyped(v, name)
}

// object goes through the fields of a struct.
func object(v map[string]any, t reflect.Type) any {
	return each(v, func(key string, e any) any {
		f, ok := field(t, key)
		if !ok {
			return untyped(e, key)
		}
		tag := f.Tag.Get("caddy")
		if tag == "" {
			return typed(e, f.Type, key)
		}
		return modules(e, tag, key)
	})
}

// field finds the one that JSON calls so, in embedded structs too.
func field(t reflect.Type, key string) (reflect.StructField, bool) {
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == key && f.IsExported() {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// modules goes through what a field has of modules: one, several, or some by name.
func modules(v any, tag, name string) any {
	namespace, inline := "", ""
	for part := range strings.FieldsSeq(tag) {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "namespace":
			namespace = value
		case "inline_key":
			inline = value
		}
	}
	switch v := v.(type) {
	case []any:
		return all(v, func(e any) any { return modules(e, tag, name) })
	case map[string]any:
		if inline == "" {
			return each(v, func(key string, e any) any { return module(e, namespace+"."+key, key) })
		}
		if id, ok := v[inline].(string); ok {
			return module(v, namespace+"."+id, name)
		}
	}
	return untyped(v, name)
}

// module goes through one by its own type.
func module(v any, id, name string) any {
	info, err := caddy.GetModule(strings.TrimPrefix(id, "."))
	if err != nil {
		return untyped(v, name)
	}
	return typed(v, reflect.TypeOf(info.New()), name)
}

// untyped goes by names and forms.
func untyped(v any, name string) any {
	switch v := v.(type) {
	case string:
		if secretName.MatchString(name) {
			return secret(v)
		}
		return text(v)
	case map[string]any:
		return each(v, func(key string, e any) any {
			if secretName.MatchString(name) && !secretName.MatchString(key) {
				key = name
			}
			return untyped(e, key)
		})
	case []any:
		return all(v, func(e any) any { return untyped(e, name) })
	}
	return v
}

// secret leaves a placeholder as it is: that says where the secret is, not what.
func secret(v string) string {
	if v == "" || placeholder.MatchString(v) {
		return v
	}
	return Redacted
}

// text takes out what is a secret by its form.
func text(v string) string {
	v = inURL.ReplaceAllString(v, "$1:"+Redacted+"@")
	v = inHeader.ReplaceAllString(v, "$1 "+Redacted)
	return inText.ReplaceAllStringFunc(v, func(found string) string {
		m := inText.FindStringSubmatch(found)
		return m[1] + secret(strings.Trim(m[2], `"'`))
	})
}

func each(v map[string]any, f func(key string, e any) any) map[string]any {
	out := make(map[string]any, len(v))
	for key, e := range v {
		out[key] = f(key, e)
	}
	return out
}

func all(v []any, f func(any) any) []any {
	out := make([]any, len(v))
	for i, e := range v {
		out[i] = f(e)
	}
	return out
}
