package auth

import (
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// The table is a map as long as it is not full, and never larger than it may be.
func TestTableIsABoundedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 2 * tableShards
		tab := newTable[int, int](most, nil)
		model := map[int]int{}
		dropped := map[int]bool{}
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			k := rapid.IntRange(0, 500).Draw(t, "key")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				tab.touch(k, func(v *int) {
					if *v != 0 && *v != model[k] {
						t.Fatalf("entry %d holds %d, want %d", k, *v, model[k])
					}
					if *v == 0 && dropped[k] {
						dropped[k] = false
					}
					model[k]++
					*v = model[k]
				})
			case 2:
				tab.see(k, func(v *int) {
					if *v != model[k] || dropped[k] {
						t.Fatalf("entry %d holds %d, want %d", k, *v, model[k])
					}
				})
			case 3:
				tab.drop(k)
				dropped[k] = true
			}
			if n := tab.size(); n > most {
				t.Fatalf("%d entries, at most %d", n, most)
			}
		}
		n := 0
		tab.each(func(k int, v *int) {
			n++
			if *v != model[k] || dropped[k] {
				t.Fatalf("entry %d holds %d, want %d", k, *v, model[k])
			}
		})
		if n != tab.size() {
			t.Fatalf("%d entries listed of %d", n, tab.size())
		}
	})
}

// What is worth most stays when strangers fill the table.
func TestTableKeepsWhatIsWorthMost(t *testing.T) {
	tab := newTable[int, float64](8*tableShards, func(v *float64) float64 { return *v })
	const precious = -1
	tab.touch(precious, func(v *float64) { *v = 100 })
	for i := range 20_000 {
		tab.touch(i, func(v *float64) { *v = 1 })
	}
	if !tab.see(precious, func(*float64) {}) {
		t.Error("the entry of worth was thrown out")
	}
}

func TestTableConcurrent(t *testing.T) {
	tab := newTable[int, int](tableShards, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 2000 {
				tab.touch(i%300, func(v *int) { *v++ })
				tab.see(i%100, func(*int) {})
				if i%50 == 0 {
					tab.drop(i % 300)
					tab.each(func(int, *int) {})
				}
			}
		})
	}
	wg.Wait()
	tab.clear()
	if tab.size() != 0 {
		t.Error("entries are left")
	}
}
