package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Values of the configuration are read by caddymsa/conf, so that each kind is spelled and refused in one way:
// no parser of a Caddyfile makes numbers, durations or sizes of words itself, and nobody else reads durations
// and sizes at all.
func TestParsersUseConf(t *testing.T) {
	t.Parallel()
	parsers := 0
	for _, top := range []string{"../caddymsa", "../modules"} {
		err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "../caddymsa/conf/") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			check := func(in ast.Node, parsing bool) {
				ast.Inspect(in, func(n ast.Node) bool {
					if call, ok := n.(*ast.SelectorExpr); ok && readsValues(call, parsing) {
						t.Errorf("%s: use caddymsa/conf", files.Position(call.Pos()))
					}
					return true
				})
			}
			check(file, false)
			ast.Inspect(file, func(n ast.Node) bool {
				var function *ast.FuncType
				switch n := n.(type) {
				case *ast.FuncDecl:
					function = n.Type
				case *ast.FuncLit:
					function = n.Type
				}
				if function == nil || !takesDispenser(function) {
					return true
				}
				parsers++
				check(n, true)
				return false
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if parsers < 60 {
		t.Errorf("only %d parsers were found", parsers)
	}
}

func takesDispenser(f *ast.FuncType) bool {
	for _, p := range f.Params.List {
		if star, ok := p.Type.(*ast.StarExpr); ok {
			if s, ok := star.X.(*ast.SelectorExpr); ok && s.Sel.Name == "Dispenser" {
				return true
			}
		}
	}
	return false
}

// readsValues tells whether a call makes a value of a word; in a parser all of strconv does.
func readsValues(s *ast.SelectorExpr, parsing bool) bool {
	pkg, ok := s.X.(*ast.Ident)
	if !ok {
		return false
	}
	switch pkg.Name + "." + s.Sel.Name {
	case "caddy.ParseDuration", "time.ParseDuration", "humanize.ParseBytes", "humanize.ParseBigBytes":
		return true
	}
	return parsing && (pkg.Name == "strconv" || pkg.Name == "humanize")
}
