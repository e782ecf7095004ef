package terminal

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Core returns a core of which nothing that a stranger wrote reaches a terminal as control or as a change of the writing direction:
// encoders escape only what is below U+0020. What does not print is written as \u009b.
func Core(to zapcore.Core) zapcore.Core { return &safeCore{to} }

// Logger returns a logger that writes through Core.
func Logger(log *zap.Logger) *zap.Logger { return log.WithOptions(zap.WrapCore(Core)) }

type safeCore struct{ zapcore.Core }

func (c *safeCore) With(fields []zapcore.Field) zapcore.Core {
	return &safeCore{c.Core.With(safeFields(fields))}
}

func (c *safeCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write has the core itself decide, which may be several of different levels, or leave lines out.
func (c *safeCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	e.Message = escaped(e.Message)
	if ce := c.Core.Check(e, nil); ce != nil {
		ce.Write(safeFields(fields)...)
	}
	return nil
}

// safeFields are the fields themselves where nothing is to be escaped, as nearly always.
func safeFields(fields []zapcore.Field) []zapcore.Field {
	for i, f := range fields {
		safe, changed := safeField(f)
		if !changed {
			continue
		}
		all := append([]zapcore.Field(nil), fields...)
		all[i] = safe
		for j := i + 1; j < len(all); j++ {
			all[j], _ = safeField(all[j])
		}
		return all
	}
	return fields
}

func safeField(f zapcore.Field) (safe zapcore.Field, changed bool) {
	switch f.Type {
	case zapcore.StringType:
		if prints(f.String) {
			return f, false
		}
		safe = f
		safe.String = escaped(f.String)
		return safe, true
	case zapcore.ByteStringType:
		if text, ok := f.Interface.([]byte); ok && !prints(string(text)) {
			return zapcore.Field{Key: f.Key, Type: zapcore.StringType, String: escaped(string(text))}, true
		}
	case zapcore.ErrorType:
		if err, ok := f.Interface.(error); ok && err != nil {
			return safeText(f, err)
		}
	case zapcore.StringerType:
		if s, ok := f.Interface.(fmt.Stringer); ok {
			return safeText(f, s)
		}
	case zapcore.ArrayMarshalerType:
		if list := reflect.ValueOf(f.Interface); list.Kind() == reflect.Slice && list.Type().Elem().Kind() == reflect.String { // of zap.Strings
			return safeList(f, list)
		}
		if list, ok := f.Interface.(zapcore.ArrayMarshaler); ok {
			return zapcore.Field{Key: f.Key, Type: f.Type, Interface: safeArray{list}}, true
		}
	case zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType:
		if o, ok := f.Interface.(zapcore.ObjectMarshaler); ok {
			return zapcore.Field{Key: f.Key, Type: f.Type, Interface: safeObject{o}}, true
		}
	case zapcore.ReflectType:
		if value, changed := safeValue(f.Interface); changed {
			return zapcore.Field{Key: f.Key, Type: f.Type, Interface: value}, true
		}
	}
	return f, false
}

// safeText is the text of an error or a Stringer. One that panics is left to zap, which copes with that.
func safeText(f zapcore.Field, value any) (safe zapcore.Field, changed bool) {
	defer func() {
		if recover() != nil {
			safe, changed = f, false
		}
	}()
	var text string
	switch v := value.(type) {
	case error:
		text = v.Error()
		if _, ok := v.(fmt.Formatter); ok { // of which zap writes both
			if verbose := fmt.Sprintf("%+v", v); !prints(verbose) {
				text = verbose
			}
		}
	case fmt.Stringer:
		text = v.String()
	}
	if prints(text) {
		return f, false
	}
	return zapcore.Field{Key: f.Key, Type: zapcore.StringType, String: escaped(text)}, true
}

// harmless tells whether a character steers nothing, or is escaped by encoders.
func harmless(r rune) bool {
	return r < 0x7f || r == utf8.RuneError || unicode.IsPrint(r) || unicode.Is(unicode.Zs, r)
}

// prints tells whether all of a text is harmless. Nearly all that is logged is ASCII, and each line goes through here.
func prints(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x7f {
			return printsUnicode(s[i:])
		}
	}
	return true
}

func printsUnicode(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !harmless(r) }) < 0
}

// escaped has \u in place of what is not harmless.
func escaped(s string) string {
	if prints(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if harmless(r) {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}
