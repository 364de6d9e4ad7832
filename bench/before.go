package main

import (
	"context"
	"slices"
)

// compareWithBefore makes every scenario a comparison of the older binary with
// the newer one, in turns. Budgets, which are about other relays, do not count.
func compareWithBefore() {
	for i := range scenarios {
		s := &scenarios[i]
		s.contestants = slices.DeleteFunc(s.contestants, func(c contestant) bool { return !isPostern(c) })
		// The last one has the setting that is the default.
		c := s.contestants[len(s.contestants)-1]
		old := func(ctx context.Context, o options, sk *sink) (relay, error) {
			o.postern = o.before
			return c.start(ctx, o, sk)
		}
		s.once = false
		s.contestants = []contestant{{c.name + ", before", old, nil}, {c.name + ", after", c.start, nil}}
	}
}
