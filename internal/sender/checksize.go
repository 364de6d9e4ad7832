package sender

import (
	"encoding/json"

	"postern/internal/relay"
)

// maxCheckText is how large a check may be as JSON: the store takes 256 KiB.
const maxCheckText = 200 << 10

// fit leaves out what others said, the least needed first, until a check can be
// kept. JSON spends up to six octets on one of theirs. What was expected, what is
// wrong and whether the domain is proven stays.
func fit(c *relay.DomainCheck) {
	for _, shorten := range []func(){
		func() {
			for i := range c.Records {
				c.Records[i].Found = c.Records[i].Found[:min(len(c.Records[i].Found), 1)]
			}
		},
		func() {
			for i := range c.Findings {
				c.Findings[i].Found = ""
			}
		},
		func() {
			for i := range c.Records {
				c.Records[i].Found = nil
			}
			c.Findings = c.Findings[:min(len(c.Findings), maxFindings/2)]
		},
		func() { c.Findings = c.Findings[:min(len(c.Findings), maxFindings/8)] },
	} {
		if text, err := json.Marshal(c); err == nil && len(text) <= maxCheckText {
			return
		}
		shorten()
	}
}
