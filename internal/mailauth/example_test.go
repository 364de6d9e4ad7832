package mailauth_test

import (
	"context"
	"fmt"

	"postern/internal/mailauth"
)

func ExampleLook() {
	r := good()
	r.TXTs["_dmarc.example.com"] = []string{"v=DMARC1; p=none; rua=mailto:dmarc@example.com"}
	report := mailauth.Look(context.Background(), mailauth.Options{Resolver: r, Domain: "example.com", Selectors: []string{"s1"}})
	fmt.Println(report.Spoofable)
	for _, s := range report.Verdict {
		fmt.Println(s)
	}
	// Output:
	// yes
	// Others can send mail as example.com: its DMARC policy is none, which asks receivers to deliver forgeries as if they were real.
	// For its own mail it has an SPF record that can be used and a DKIM key.
}
