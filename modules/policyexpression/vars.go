package policyexpression

import (
	"context"
	"errors"
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/emersion/go-smtp"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/message"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// vars gives an expression its variables when it asks for them: what it does not ask is not read.
type vars struct {
	ctx context.Context
	e   *queue.Entry
	r   *queue.Recipient  // nil before there is one
	m   *caddymsa.Message // nil before the end of data
	now func() time.Time
	err error // the message cannot be read, or taken apart

	known []map[string]any // parts
	view  int              // which of its names a part's filename is
	views int              // how many there are
}

// ResolveName implements cel.Activation.
func (v *vars) ResolveName(name string) (any, bool) {
	for i := range variables {
		if variables[i].name != name {
			continue
		}
		value, err := variables[i].of(v)
		if err != nil {
			v.fail(err)
			return types.WrapErr(err), true
		}
		return value, true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (*vars) Parent() cel.Activation { return nil }

// fail keeps the first cause. What is wrong with the message is told to the client.
func (v *vars) fail(err error) {
	if v.err != nil {
		return
	}
	if tooMuch, ok := errors.AsType[*message.LimitError](err); ok {
		err = &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "structure", Text: "Message has too much of " + tooMuch.What, Err: err}
	} else if errors.Is(err, message.ErrHeaderTooLong) {
		err = &caddymsa.Refusal{Code: 554, Status: smtp.EnhancedCode{5, 6, 0}, Rule: "header", Text: "Header is too long", Err: err}
	}
	v.err = err
}

func (v *vars) recipients() (any, error) {
	all := make([]string, len(v.e.Recipients))
	for i := range all {
		all[i] = v.e.Recipients[i].Complete()
	}
	return all, nil
}

func (v *vars) parts() (any, error) {
	if v.known != nil {
		return v.known, nil
	}
	s, err := message.PartsOf(v.ctx, v.m)
	if err != nil {
		return nil, err
	}
	v.known = make([]map[string]any, len(s.Parts))
	for i, p := range s.Parts {
		if v.views = max(v.views, len(p.FileNames)); v.views > maxFileNames {
			return nil, &message.LimitError{What: "file names of a part", Max: maxFileNames}
		}
		v.known[i] = map[string]any{
			"path": p.Path, "depth": int64(p.Depth), "type": p.Type, "charset": p.Charset, "encoding": p.Encoding, "disposition": p.Disposition,
			"filename": fileName(&p, v.view), "filenames": append([]string{}, p.FileNames...), "size": p.DecodedSize, "container": p.Container,
		}
	}
	return v.known, nil
}

// maxFileNames is how many names a part may have. An expression that asks for its filename is evaluated
// with each.
const maxFileNames = 8

// fileName is what a part is called in a view: by its last name if it has fewer.
func fileName(p *message.Part, view int) string {
	if len(p.FileNames) == 0 {
		return ""
	}
	return p.FileNames[min(view, len(p.FileNames)-1)]
}

// messageType has the functions header and headers.
var messageType = cel.OpaqueType("msa.message")

// messageValue is the message as CEL sees it.
type messageValue struct{ v *vars }

func (m messageValue) ConvertToNative(reflect.Type) (any, error) {
	return nil, errors.New("message is not a value by itself; use message.header(\"Subject\")")
}

func (m messageValue) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("message cannot become %s", t.TypeName())
}
func (m messageValue) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(m)) }
func (m messageValue) Type() ref.Type              { return messageType }
func (m messageValue) Value() any                  { return m.v }

// messageHeader is the first field's value, decoded, or empty.
func messageHeader(m, name ref.Val) ref.Val {
	h, err := m.(messageValue).header()
	if err != nil {
		return types.WrapErr(err)
	}
	f, _ := h.First(string(name.(types.String)))
	return types.String(f.Text())
}

// messageHeaders are all of them.
func messageHeaders(m, name ref.Val) ref.Val {
	h, err := m.(messageValue).header()
	if err != nil {
		return types.WrapErr(err)
	}
	all := []string{}
	for _, f := range h {
		if f.Is(string(name.(types.String))) {
			all = append(all, f.Text())
		}
	}
	return types.DefaultTypeAdapter.NativeToValue(all)
}

func (m messageValue) header() (message.Header, error) {
	h, err := message.HeaderOf(m.v.m)
	if err != nil {
		m.v.fail(err)
	}
	return h, err
}
