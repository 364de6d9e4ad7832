package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"postern/internal/relay"
)

// Every kind of event that there is can be asked for.
func TestEveryEventCanBeAskedFor(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../relay/event.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		v, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := v.Type.(*ast.Ident); !ok || of.Name != "EventKind" {
			return true
		}
		kind, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if n++; !slices.Contains(eventKinds, relay.EventKind(kind)) {
			t.Errorf("%s cannot be asked for", kind)
		}
		return true
	})
	if n == 0 || n != len(eventKinds) {
		t.Errorf("%d kinds are declared, %d can be asked for", n, len(eventKinds))
	}
}
