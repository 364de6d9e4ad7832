package watch

import (
	"testing"

	"postern/internal/relay"
)

// TestYoungKey: in a key's first weeks only what is far from all that was is told. A
// young key is stolen as easily as an old one; but its first monthly run is no theft.
func TestYoungKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		day   int
		fresh float64 // of its usual mail
		n     int     // recipients, all new
		want  int
	}{
		"a list, by a key of four weeks":                 {28, 0.02, 400, 1},
		"a list, by a key of two weeks":                  {17, 0.02, 400, 0},
		"a few more than usual":                          {28, 0.02, 45, 0},
		"the same, when the key is known":                {60, 0.02, 75, 1},
		"a list, by a key that writes to new ones":       {28, 0.6, 400, 0},
		"twice its largest day, in its first month":      {28, 0.3, 100, 0},
		"many times its largest day, in its first month": {28, 0.3, 500, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				w := newWorld(t, seed)
				p := w.program("shop", "192.0.2.7")
				p.Fresh = c.fresh
				w.run(p, shapes["diurnal"], 0, c.day)
				p.Fresh = 1
				w.send(p, w.at(float64(c.day), 9.2), c.n/2)
				w.send(p, w.at(float64(c.day), 11.2), c.n-c.n/2)
				n := 0
				for _, f := range w.watch() {
					if f.Rule == relay.WatchRecipients {
						n++
						w.says(f, "never had mail from it before", "“shop”")
					}
				}
				if n != c.want {
					t.Errorf("seed %d: %d findings, want %d", seed, n, c.want)
				}
			}
		})
	}
}

// A key whose first monthly run is to people who had no mail yet: nothing to say,
// if it meets new people on other days too.
func TestFirstMonthlyRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		w := newWorld(t, seed)
		p := w.program("invoices", "192.0.2.7")
		p.Known, p.Fresh = 500, 0
		for d := range 30 {
			w.send(p, w.at(float64(d), 10), 5+w.rnd.IntN(5))
		}
		w.send(p, w.at(30, 6), 300)
		for _, f := range w.watch() {
			if f.Rule == relay.WatchRecipients {
				t.Errorf("seed %d: %s", seed, f.Text)
			}
		}
	}
}

// TestYoungBurst: a key that sends all the time has no runs that could still come;
// what is many times its largest hour is told before it saw a month's end.
func TestYoungBurst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shape string
		day   int
		n     int // recipients in one hour
		want  int
	}{
		"a shop of four weeks":                 {"diurnal", 26, 400, 1},
		"of two weeks":                         {"diurnal", 16, 400, 0},
		"three times its largest hour":         {"diurnal", 26, 100, 0},
		"a key of office hours, and its run":   {"invoices", 29, 400, 0},
		"one that sends once a week, twice":    {"weekly", 30, 1500, 0},
		"the shop, when a month's end is over": {"diurnal", 50, 150, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				w := newWorld(t, seed)
				p := w.program("shop", "192.0.2.7")
				w.run(p, shapes[c.shape], 0, c.day)
				w.send(p, w.at(float64(c.day), 11.1), c.n)
				n := 0
				for _, f := range w.watch() {
					if f.Rule == relay.WatchBurst {
						n++
						w.says(f, "“shop”", "its largest hour so far")
					}
				}
				if n != c.want {
					t.Errorf("seed %d: %d findings, want %d", seed, n, c.want)
				}
			}
		})
	}
}
