package mailaddr_test

import (
	"fmt"

	"github.com/caddy-msa/caddy-msa/caddymsa/mailaddr"
)

// An address keeps its spelling beside what it means.
func ExampleParse() {
	a, err := mailaddr.Parse(`"a b"@Münster.Example`, true)
	fmt.Println(a, a.Local, a.ASCIIDomain(), err)

	b, _ := mailaddr.Parse(`"A B"@xn--mnster-3ya.example`, true)
	fmt.Println(mailaddr.Equal(a, b), a.NeedsUTF8())

	_, err = mailaddr.Parse("alice@example", false)
	fmt.Println(err)
	// Output:
	// "a b"@Münster.Example a b xn--mnster-3ya.example <nil>
	// true true
	// domain is not fully qualified
}

// The path of a MAIL or RCPT command, and the parameters behind it.
func ExampleParsePath() {
	a, rest, err := mailaddr.ParsePath("<alice@example.org> SIZE=1000", false)
	fmt.Printf("%s %q %v\n", a, rest, err)

	a, _, err = mailaddr.ParsePath("<>", false)
	fmt.Println(a.IsNull(), err)
	// Output:
	// alice@example.org " SIZE=1000" <nil>
	// true <nil>
}

func ExampleSet() {
	var mine mailaddr.Set
	for _, pattern := range []string{"alice@example.org", "*@lists.example.org", "*.example.net"} {
		if err := mine.Add(pattern); err != nil {
			fmt.Println(err)
		}
	}
	for _, text := range []string{"Alice@Example.ORG", "alice+news@example.org", "bob@example.org", "x@lists.example.org", "y@a.b.example.net", "y@example.net"} {
		a, _ := mailaddr.Parse(text, false)
		fmt.Println(text, mine.Has(a))
	}
	// Output:
	// Alice@Example.ORG true
	// alice+news@example.org true
	// bob@example.org false
	// x@lists.example.org true
	// y@a.b.example.net true
	// y@example.net false
}
