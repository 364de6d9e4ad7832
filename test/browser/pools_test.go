package browser

import (
	"testing"
	"time"
)

func init() {
	elsewhere["/pools/{address}/warm-up"], elsewhere["/pools/{address}/warm"] = true, true // TestPoolWarmup
}

// TestPoolWarmup: a person puts an address of their pool into warm-up and ends it
// again, without scripts; each page is judged, and fits a phone.
func TestPoolWarmup(t *testing.T) {
	t.Parallel()
	w := theWorld(t)
	w.account(t, "pooled")
	w.operate(t, nil, "pool", "add", "letters", "--account", "pooled", "--address", "127.0.7.1=out1.pooled.test", "--address", "127.0.7.2=out2.pooled.test")
	b, _ := w.owner(t, "pooled", "petra")
	b.visit("/pools")
	b.sees("main", "out2.pooled.test")
	b.sees("main", "in use")

	b.scripts(false)
	b.click(`a[href="/pools/127.0.7.1/warm-up"]`)
	b.arrives("/pools/127.0.7.1/warm-up")
	b.sees("main", "leaves from the other addresses of the pool")
	b.press("Warm it up")
	b.arrives("/pools")
	b.sees("main", "day 0 of 41, 20 an hour to each destination")
	b.click(`a[href="/pools/127.0.7.1/warm"]`)
	b.arrives("/pools/127.0.7.1/warm")
	b.scripts(true)

	b.visit("/pools/127.0.7.1/warm")
	b.judge("")
	b.visit("/pools/127.0.7.2/warm-up")
	b.sees("main", "No other warm address is left in letters")
	b.judge("")
	w.operate(t, nil, "pool", "warmup", "stop", "127.0.7.1")
	w.operate(t, nil, "pool", "warmup", "start", "127.0.7.1", "--since", time.Now().UTC().AddDate(0, 0, -12).Format(time.DateOnly))
	b.visit("/pools")
	b.sees("main", "day 12 of 41")
	if n := b.count("main meter"); n != 1 {
		t.Errorf("%d bars", n)
	}
	b.judge("pools-warmup")

	b.visit("/pools/127.0.7.1/warm")
	b.press("End it")
	b.arrives("/pools")
	b.sees("main", "The address counts as warm from now on.")
	if n := b.count("main meter"); n != 0 {
		t.Errorf("%d bars", n)
	}
}
