package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

type spoken string

func (s spoken) String() string { return string(s) }

// No encoder lets a control character or a change of direction through, wherever in a line it stands (issue 10.33).
func TestCore(t *testing.T) {
	const evil = "a\x1b[2J\u009b2J\u202etxt\u2066\u200b\u2028\x7fé漢\u00a0"
	for name, encoder := range map[string]zapcore.Encoder{
		"console": zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "msg", LineEnding: "\n"}),
		"json":    zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg", LineEnding: "\n"}),
	} {
		var b bytes.Buffer
		log := zap.New(Core(zapcore.NewCore(encoder, zapcore.AddSync(&b), zapcore.InfoLevel)))
		log.With(zap.String("with", evil)).Info("m\u009b", zap.String("s", evil), zap.Error(errors.New(evil)), zap.Stringer("t", spoken(evil)), zap.Strings("l", []string{"ok", evil}),
			zap.ByteString("b", []byte(evil)), zap.Int("n", 1), zap.Stringer("nil", (*spoken)(nil)), zap.NamedError("none", nil))
		log.Debug("not written")
		got := b.String()
		if strings.ContainsAny(strings.TrimSuffix(got, "\n"), "\x1b\u009b\u202e\u2066\u200b\u2028\x7f\n") || strings.Count(got, "é漢") != 6 || strings.Contains(got, "not written") || !strings.Contains(got, `\\u202e`) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// account is an object in a log line, with lists and objects in it.
type account struct {
	Text string
	deep bool
}

func (a account) MarshalLogObject(to zapcore.ObjectEncoder) error {
	to.AddString("text", a.Text)
	to.AddByteString("octets", []byte(a.Text))
	if !a.deep {
		return nil
	}
	shallow := account{Text: a.Text}
	if err := to.AddObject("object", shallow); err != nil {
		return err
	}
	if err := to.AddReflected("value", shallow); err != nil {
		return err
	}
	return to.AddArray("list", zapcore.ArrayMarshalerFunc(func(to zapcore.ArrayEncoder) error {
		to.AppendString(a.Text)
		to.AppendByteString([]byte(a.Text))
		return errors.Join(to.AppendObject(shallow), to.AppendReflected([]string{a.Text}), to.AppendArray(zapcore.ArrayMarshalerFunc(func(to zapcore.ArrayEncoder) error {
			to.AppendString(a.Text)
			return nil
		})))
	}))
}

// verbose is an error of which zap writes more than its text.
type verbose string

func (verbose) Error() string { return "short" }

func (v verbose) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(v)) }

// Nor does what is inside of a field.
func TestCoreInside(t *testing.T) {
	const evil = "a\x1b[2J\u009b2J\u202etxt\u2066\u200b\u2028\x7f\U000e0001é漢"
	deep := account{Text: evil, deep: true}
	for name, tt := range map[string]struct {
		field zap.Field
		texts int
	}{
		"object":  {zap.Object("o", deep), 11},
		"inline":  {zap.Inline(deep), 11},
		"objects": {zap.Objects("l", []account{deep, deep}), 22},
		"value":   {zap.Any("v", map[string]any{evil: []any{evil, deep}}), 3},
		"panic":   {zap.Any("panic", struct{ Why string }{evil}), 1},
		"error":   {zap.Error(verbose(evil)), 1},
	} {
		var b bytes.Buffer
		zap.New(Core(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{LineEnding: "\n"}), zapcore.AddSync(&b), zapcore.InfoLevel))).Info("", tt.field)
		got := b.String()
		if strings.ContainsAny(strings.TrimSuffix(got, "\n"), "\x1b\u009b\u202e\u2066\u200b\u2028\x7f\U000e0001\n") || strings.Count(got, "é漢") != tt.texts || !json.Valid(b.Bytes()) {
			t.Errorf("%s: %d of %d: %q", name, strings.Count(got, "é漢"), tt.texts, got)
		}
	}
	whole := account{Text: "plain"}
	if safe, changed := safeField(zap.Reflect("v", whole)); changed || safe.Interface != any(whole) {
		t.Error("a value that prints is changed")
	}
}

// The core that is written to decides what it writes.
func TestCoreDecides(t *testing.T) {
	var info, warn bytes.Buffer
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"})
	core := zapcore.NewTee(zapcore.NewCore(encoder, zapcore.AddSync(&info), zapcore.InfoLevel),
		zapcore.NewSamplerWithOptions(zapcore.NewCore(encoder, zapcore.AddSync(&warn), zapcore.WarnLevel), time.Hour, 1, 0))
	log := Logger(zap.New(core)).With(zap.String("a", "b"))
	log.Info("i")
	log.Warn("w")
	log.Warn("w")
	if strings.Count(info.String(), "{") != 3 || strings.Count(warn.String(), "{") != 1 {
		t.Errorf("%q, %q", info.String(), warn.String())
	}
}

// A line in which all prints is written as it is, without work.
func TestCorePlain(t *testing.T) {
	fields := []zapcore.Field{zap.String("s", "é"), zap.Strings("l", []string{"a"}), zap.Duration("d", time.Second), zap.Error(fmt.Errorf("x"))}
	if n := testing.AllocsPerRun(100, func() { safeFields(fields) }); n > 1 {
		t.Error(n)
	}
}
