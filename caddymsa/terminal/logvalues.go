package terminal

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"go.uber.org/zap/zapcore"
)

func safeList(f zapcore.Field, list reflect.Value) (safe zapcore.Field, changed bool) {
	texts := make(stringList, list.Len())
	for i := range texts {
		text := list.Index(i).String()
		texts[i] = escaped(text)
		changed = changed || texts[i] != text
	}
	if !changed {
		return f, false
	}
	return zapcore.Field{Key: f.Key, Type: zapcore.ArrayMarshalerType, Interface: texts}, true
}

type stringList []string

func (l stringList) MarshalLogArray(to zapcore.ArrayEncoder) error {
	for _, s := range l {
		to.AppendString(s)
	}
	return nil
}

// safeValue is a value of which an encoder writes the JSON, or that JSON with \u for what does not print.
func safeValue(value any) (safe any, changed bool) {
	b, err := json.Marshal(value)
	if err != nil || prints(string(b)) {
		return value, false
	}
	var text strings.Builder
	for _, r := range string(b) { // what is not ASCII is in the strings only
		if harmless(r) {
			text.WriteRune(r)
			continue
		}
		if r > 0xffff {
			r = '\ufffd'
		}
		fmt.Fprintf(&text, `\u%04x`, r)
	}
	return json.RawMessage(text.String()), true
}

// safeObject and safeArray write through encoders that escape.
type (
	safeObject struct{ zapcore.ObjectMarshaler }
	safeArray  struct{ zapcore.ArrayMarshaler }
)

func (o safeObject) MarshalLogObject(to zapcore.ObjectEncoder) error {
	return o.ObjectMarshaler.MarshalLogObject(objectEncoder{to})
}

func (a safeArray) MarshalLogArray(to zapcore.ArrayEncoder) error {
	return a.ArrayMarshaler.MarshalLogArray(arrayEncoder{to})
}

type objectEncoder struct{ zapcore.ObjectEncoder }

func (e objectEncoder) AddString(key, value string) { e.ObjectEncoder.AddString(key, escaped(value)) }

func (e objectEncoder) AddByteString(key string, value []byte) { e.AddString(key, string(value)) }

func (e objectEncoder) AddObject(key string, o zapcore.ObjectMarshaler) error {
	return e.ObjectEncoder.AddObject(key, safeObject{o})
}

func (e objectEncoder) AddArray(key string, a zapcore.ArrayMarshaler) error {
	return e.ObjectEncoder.AddArray(key, safeArray{a})
}

func (e objectEncoder) AddReflected(key string, value any) error {
	value, _ = safeValue(value)
	return e.ObjectEncoder.AddReflected(key, value)
}

type arrayEncoder struct{ zapcore.ArrayEncoder }

func (e arrayEncoder) AppendString(value string) { e.ArrayEncoder.AppendString(escaped(value)) }

func (e arrayEncoder) AppendByteString(value []byte) { e.AppendString(string(value)) }

func (e arrayEncoder) AppendObject(o zapcore.ObjectMarshaler) error {
	return e.ArrayEncoder.AppendObject(safeObject{o})
}

func (e arrayEncoder) AppendArray(a zapcore.ArrayMarshaler) error {
	return e.ArrayEncoder.AppendArray(safeArray{a})
}

func (e arrayEncoder) AppendReflected(value any) error {
	value, _ = safeValue(value)
	return e.ArrayEncoder.AppendReflected(value)
}
