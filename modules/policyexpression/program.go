package policyexpression

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/caddy-msa/caddy-msa/caddymsa"
	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// costLimit bounds an evaluation, in CEL's units: some 50 ms.
const costLimit = 1_000_000

// checkEvery is after how many comprehension steps an evaluation looks whether its time is over.
const checkEvery = 1000

// variables are what expressions can ask, and from when on there is an answer that stays.
var variables = []struct {
	name   string
	kind   *cel.Type
	moment caddymsa.Moment
	of     func(v *vars) (any, error)
}{
	{"user", cel.StringType, caddymsa.MomentConnection, func(v *vars) (any, error) { return v.e.User, nil }},
	{"attributes", cel.MapType(cel.StringType, cel.StringType), caddymsa.MomentConnection, func(v *vars) (any, error) { return v.e.Attributes, nil }},
	{"mechanism", cel.StringType, caddymsa.MomentConnection, func(v *vars) (any, error) { return v.e.Mechanism, nil }},
	{"app_password", cel.StringType, caddymsa.MomentConnection, func(v *vars) (any, error) { return v.e.AppPassword, nil }},
	{"remote_ip", cel.StringType, caddymsa.MomentConnection, func(v *vars) (any, error) { return v.e.RemoteIP, nil }},
	{"helo", cel.StringType, caddymsa.MomentConnection, func(v *vars) (any, error) { return v.e.Helo, nil }},
	{"tls", cel.StringType, caddymsa.MomentConnection, func(v *vars) (any, error) { return v.e.TLS, nil }},
	{"server", cel.StringType, caddymsa.MomentConnection, func(v *vars) (any, error) { return v.e.Server, nil }},
	{"now", cel.TimestampType, caddymsa.MomentConnection, func(v *vars) (any, error) { return v.now(), nil }},
	{"sender", cel.StringType, caddymsa.MomentSender, func(v *vars) (any, error) { return v.e.Sender, nil }},
	{"smtputf8", cel.BoolType, caddymsa.MomentSender, func(v *vars) (any, error) { return v.e.SMTPUTF8, nil }},
	{"priority", cel.IntType, caddymsa.MomentSender, func(v *vars) (any, error) { return int64(v.e.Priority), nil }},
	{"recipient", cel.StringType, caddymsa.MomentRecipient, func(v *vars) (any, error) { return v.r.Complete(), nil }},
	{"recipients", cel.ListType(cel.StringType), caddymsa.MomentMessage, (*vars).recipients},
	{"size", cel.IntType, caddymsa.MomentMessage, func(v *vars) (any, error) { return v.m.Size, nil }},
	{"message", messageType, caddymsa.MomentMessage, func(v *vars) (any, error) { return messageValue{v}, nil }},
	{"parts", cel.ListType(cel.MapType(cel.StringType, cel.DynType)), caddymsa.MomentMessage, (*vars).parts},
}

// environment is CEL with the variables and a few functions.
func environment() (*cel.Env, error) {
	options := []cel.EnvOption{
		ext.Strings(), ext.Lists(), ext.Sets(), cel.ASTValidators(writtenNetworks{}),
		cel.Function("domain", cel.Overload("domain_string", []*cel.Type{cel.StringType}, cel.StringType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			a, _ := mailaddr.Parse(string(v.(types.String)), true)
			return types.String(a.ASCIIDomain())
		}))),
		cel.Function("local", cel.Overload("local_string", []*cel.Type{cel.StringType}, cel.StringType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			a, _ := mailaddr.Parse(string(v.(types.String)), true)
			return types.String(a.Local)
		}))),
		cel.Function("in_network",
			cel.Overload("in_network_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(inNetwork)),
			cel.Overload("in_network_list", []*cel.Type{cel.StringType, cel.ListType(cel.StringType)}, cel.BoolType, cel.BinaryBinding(inNetworks))),
		cel.Function("header", cel.MemberOverload("message_header", []*cel.Type{messageType, cel.StringType}, cel.StringType, cel.BinaryBinding(messageHeader))),
		cel.Function("headers", cel.MemberOverload("message_headers", []*cel.Type{messageType, cel.StringType}, cel.ListType(cel.StringType), cel.BinaryBinding(messageHeaders))),
	}
	for _, v := range variables {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	return cel.NewEnv(options...)
}

// program is a compiled expression.
type program struct {
	eval      cel.Program
	moment    caddymsa.Moment
	recipient bool // it asks about the recipient
	fileName  bool // it asks for a part's filename
}

// compile says where in the expression an error is.
func compile(text string) (*program, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the expression is empty")
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		var all []string
		for _, e := range issues.Errors() {
			all = append(all, fmt.Sprintf("%d:%d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
		}
		return nil, fmt.Errorf("expression %s, in: %s", strings.Join(all, "; "), text)
	}
	if ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("the expression says %s where it should say true or false: %s", ast.OutputType(), text)
	}
	eval, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit), cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return nil, fmt.Errorf("expression: %w, in: %s", err, text)
	}
	p := &program{eval: eval, fileName: strings.Contains(text, "filename")}
	for _, reference := range ast.NativeRep().ReferenceMap() {
		for _, v := range variables {
			if reference.Name == v.name {
				p.moment = max(p.moment, v.moment)
				p.recipient = p.recipient || v.name == "recipient"
			}
		}
	}
	return p, nil
}

// either tells whether the expression says so. Of a part that readers know by several names it is asked
// once with each as its filename, and it is enough that it says so once.
func (p *program) either(ctx context.Context, v *vars, wanted bool) (bool, error) {
	for {
		is, err := p.ask(ctx, v)
		if err != nil || is == wanted {
			return is == wanted, err
		}
		if v.view++; !p.fileName || v.view >= v.views {
			return false, nil
		}
		v.known = nil
	}
}

// ask evaluates the expression. An error of the message's, such as one that cannot be taken apart,
// comes as it is.
func (p *program) ask(ctx context.Context, v *vars) (bool, error) {
	v.ctx = ctx
	out, _, err := p.eval.ContextEval(ctx, v)
	if v.err != nil {
		return false, v.err
	}
	if err != nil {
		return false, fmt.Errorf("expression: %w", err)
	}
	is, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("expression: it says %v", out)
	}
	return bool(is), nil
}

var clock = time.Now
