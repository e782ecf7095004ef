package policyexpression

import (
	"fmt"
	"net/netip"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/caddy-msa/caddy-msa/caddymsa/conf"
)

// inNetwork is false for a client on a unix socket, which has no address.
func inNetwork(ip, network ref.Val) ref.Val {
	prefix, err := conf.Network(text(network))
	if err != nil {
		return types.NewErr("in_network: %v", err)
	}
	addr, err := netip.ParseAddr(string(ip.(types.String)))
	return types.Bool(err == nil && prefix.Contains(addr.Unmap().WithZone("")))
}

// text is a string, or what else stands in a list of CEL's.
func text(v ref.Val) string { return fmt.Sprint(v.Value()) }

func inNetworks(ip, networks ref.Val) ref.Val {
	for it := networks.(traits.Lister).Iterator(); it.HasNext() == types.True; {
		if in := inNetwork(ip, it.Next()); in != types.False {
			return in
		}
	}
	return types.False
}

// writtenNetworks has an expression refused at load that names a network which is none. Those that come of attributes are seen when they are asked.
type writtenNetworks struct{}

// Name implements cel.ASTValidator.
func (writtenNetworks) Name() string { return "msa.networks" }

// Validate implements cel.ASTValidator.
func (writtenNetworks) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	for _, call := range ast.MatchDescendants(ast.NavigateAST(a), ast.FunctionMatcher("in_network")) {
		network := call.AsCall().Args()[1]
		all := []ast.Expr{network}
		if network.Kind() == ast.ListKind {
			all = network.AsList().Elements()
		}
		for _, one := range all {
			if one.Kind() != ast.LiteralKind {
				continue
			}
			if _, err := conf.Network(text(one.AsLiteral())); err != nil {
				issues.ReportErrorAtID(one.ID(), "%v", err)
			}
		}
	}
}
