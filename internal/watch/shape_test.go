package watch

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// shape is how a program sends: one call for each hour of its life.
type shape func(w *world, p *program, at time.Time, day, hour int)

func weekend(at time.Time) bool { return at.Weekday() == time.Saturday || at.Weekday() == time.Sunday }

var shapes = map[string]shape{
	"steady": func(w *world, p *program, at time.Time, _, _ int) { w.some(p, at, w.spread(6, 2)) },
	"small":  func(w *world, p *program, at time.Time, _, _ int) { w.some(p, at, w.spread(0.15, 1)) },
	"diurnal": func(w *world, p *program, at time.Time, _, hour int) {
		rate := 20 * math.Max(0, math.Sin(math.Pi*float64(hour-6)/14))
		if weekend(at) {
			rate /= 5
		}
		w.some(p, at, w.spread(rate, 3))
	},
	"office": func(w *world, p *program, at time.Time, _, hour int) {
		if !weekend(at) && hour >= 8 && hour < 18 {
			w.some(p, at, w.spread(12, 2))
		}
	},
	"nightly": func(w *world, p *program, at time.Time, _, hour int) {
		if hour == 2 {
			w.some(p, at, 100+w.spread(50, 1))
		}
	},
	"weekly": func(w *world, p *program, at time.Time, _, hour int) {
		holiday := at.Day() <= 2 // moved to Tuesday
		if hour == 6 && (at.Weekday() == time.Monday && !holiday || at.Weekday() == time.Tuesday && at.AddDate(0, 0, -1).Day() <= 2) {
			w.some(p, at, 300+w.spread(60, 2))
		}
	},
	"invoices": func(w *world, p *program, at time.Time, _, hour int) {
		if at.Day() == 1 && hour == 5 {
			w.some(p, at, 500+w.spread(100, 2))
			return
		}
		if !weekend(at) && hour >= 9 && hour < 17 {
			w.some(p, at, w.spread(3, 1))
		}
	},
	"month end": func(w *world, p *program, at time.Time, _, hour int) {
		rate := 5.0
		if at.AddDate(0, 0, 2).Month() != at.Month() {
			rate = 25
		}
		if !weekend(at) && hour >= 7 && hour < 19 {
			w.some(p, at, w.spread(rate, 2))
		}
	},
	"marketing": func(w *world, p *program, at time.Time, day, hour int) {
		if !weekend(at) && hour == 9+day%6 && w.rnd.IntN(4) == 0 {
			w.some(p, at, int(150*math.Exp(0.8*w.rnd.NormFloat64())))
		}
	},
	"growing": func(w *world, p *program, at time.Time, day, hour int) {
		if hour >= 6 && hour < 22 {
			w.some(p, at, w.spread(2*math.Exp(float64(day)/45), 2))
		}
	},
	"cron": func(w *world, p *program, at time.Time, _, hour int) {
		if hour%6 == 0 {
			w.some(p, at, 4)
		}
	},
	"holidays": func(w *world, p *program, at time.Time, day, hour int) {
		if day >= 60 && day < 72 {
			return
		}
		rate := 10.0
		if day >= 72 && day < 74 {
			rate = 25 // what has piled up
		}
		if !weekend(at) && hour >= 8 && hour < 18 {
			w.some(p, at, w.spread(rate, 2))
		}
	},
	"moving": func(w *world, p *program, at time.Time, day, _ int) {
		p.Addrs = []string{fmt.Sprintf("198.18.%d.%d", day/10, 1+day%200)}
		w.some(p, at, w.spread(2, 1))
	},
	"pool": func(w *world, p *program, at time.Time, _, _ int) {
		p.Addrs = []string{fmt.Sprintf("10.%d.%d.%d", w.rnd.IntN(60), w.rnd.IntN(4), 1+w.rnd.IntN(200))}
		w.some(p, at, w.spread(2, 1))
	},
	"deploy": func(w *world, p *program, at time.Time, day, _ int) {
		p.Helo = fmt.Sprintf("web-%d.test", day/14)
		w.some(p, at, w.spread(3, 1))
	},
	"signups": func(w *world, p *program, at time.Time, _, hour int) {
		p.Fresh = 0.9
		w.some(p, at, w.spread(4+3*math.Sin(float64(hour)/4), 2))
	},
}

// some sends if there is anything to send, at some minute of the hour.
func (w *world) some(p *program, at time.Time, n int) {
	if n > 0 {
		w.send(p, at.Add(time.Duration(w.rnd.IntN(9))*time.Minute), n)
	}
}

// run lets a program live for some days.
func (w *world) run(p *program, s shape, from, to int) {
	for d := from; d < to; d++ {
		for h := range 24 {
			s(w, p, w.at(float64(d), float64(h)), d, h)
		}
	}
}

// TestShapesAreQuiet: months of mail of many shapes, and nothing to say.
func TestShapesAreQuiet(t *testing.T) {
	t.Parallel()
	for name, s := range shapes {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(name, " ", seed), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, seed)
				w.run(w.program(name, "192.0.2.7"), s, 0, 120)
				w.none(w.watch())
			})
		}
	}
}
