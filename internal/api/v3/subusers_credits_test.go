package v3

import (
	"testing"
	"time"

	"postern/internal/credit"
	"postern/internal/relay"
	"postern/internal/store"
)

func init() {
	// An absent name is SendGrid's 400 here; TestCreditsOfNobody has the foreign one.
	on := func(status int, rest, body string) fixture {
		f := onSubuser(status, rest, body)
		f.Absent = ask{}
		return f
	}
	addFixtures(map[string]fixture{
		"GET /v3/subusers/{subuser_name}/credits":             on(200, "/credits", ""),
		"PUT /v3/subusers/{subuser_name}/credits":             on(200, "/credits", `{"type":"recurring","reset_frequency":"daily","total":5}`),
		"PATCH /v3/subusers/{subuser_name}/credits/remaining": creditsLeft(on(200, "/credits/remaining", `{"allocation_update":5}`)),
	})
}

// creditsLeft is a fixture of subusers that have an allowance.
func creditsLeft(f fixture) fixture {
	inner := f.Make
	f.Make = func(w *world, of relay.Tenant) ask {
		for i := range w.subusers {
			w.subusers[i].Plan.Credits = relay.Credits{Type: relay.CreditsNonrecurring, Total: 10}
		}
		return inner(w, of)
	}
	return f
}

func TestCreditShapes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	const path = "/v3/subusers/staging/credits"
	is := func(a answer, want string) {
		t.Helper()
		if a.Body != want+"\n" {
			t.Errorf("%s want %s", a.Body, want)
		}
	}
	unlimited := `{"type":"unlimited","reset_frequency":null,"remain":null,"total":null,"used":null}`
	is(c.want("GET", path, "", 200, nil), unlimited)
	subusersOf(w).use(w.staging, t0, 40)
	is(c.want("PUT", path, `{"type":"recurring","reset_frequency":"monthly","total":100}`, 200, nil), `{"type":"recurring","reset_frequency":"monthly","remain":100,"total":100,"used":0}`)
	subusersOf(w).use(w.staging, t0, 1)
	is(c.want("GET", path, "", 200, nil), `{"type":"recurring","reset_frequency":"monthly","remain":99,"total":100,"used":1}`) // SendGrid's example
	is(c.want("PUT", path, `{"type":"nonrecurring","total":50}`, 200, nil), `{"type":"nonrecurring","reset_frequency":null,"remain":50,"total":null,"used":null}`)
	subusersOf(w).use(w.staging, t0, 60)
	is(c.want("GET", path, "", 200, nil), `{"type":"nonrecurring","reset_frequency":null,"remain":0,"total":null,"used":null}`)
	is(c.want("PATCH", path+"/remaining", `{"allocation_update":99}`, 200, nil), `{"type":"nonrecurring","reset_frequency":null,"remain":99,"total":null,"used":null}`)
	is(c.want("PATCH", path+"/remaining", `{"allocation_update":-9}`, 200, nil), `{"type":"nonrecurring","reset_frequency":null,"remain":90,"total":null,"used":null}`)
	is(c.want("PUT", path, `{"type":"unlimited"}`, 200, nil), unlimited)
	c.refused("PATCH", path+"/remaining", `{"allocation_update":9}`, 400, "unlimited", "allocation_update")
}

func TestCreditRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	const path = "/v3/subusers/staging/credits"
	for _, x := range [][3]string{
		{`{}`, "Type should be set to 'recurring', 'nonrecurring', or 'unlimited'", "type"},
		{`{"type":"free"}`, "Type should be set to", "type"},
		{`{"type":"recurring","total":5}`, "Reset frequency", "reset_frequency"},
		{`{"type":"recurring","total":5,"reset_frequency":"yearly"}`, "Reset frequency", "reset_frequency"},
		{`{"type":"nonrecurring","total":5,"reset_frequency":"daily"}`, "Only a recurring", "reset_frequency"},
		{`{"type":"unlimited","total":5}`, "no total", "total"},
		{`{"type":"nonrecurring"}`, "Total should be", "total"},
		{`{"type":"nonrecurring","total":0}`, "Total should be", "total"},
		{`{"type":"nonrecurring","total":-5}`, "Total should be", "total"},
		{`{"type":"nonrecurring","total":9223372036854775807}`, "Total should be", "total"},
		{`{"type":"nonrecurring","total":1.5}`, "integer", "total"},
		{`{"type":"nonrecurring","total":5,"base":-1000}`, "no such member", "base"}, // AP-04
	} {
		c.refused("PUT", path, x[0], 400, x[1], x[2])
	}
	for _, body := range []string{`{}`, `{"allocation_update":-9223372036854775808}`, `{"allocation_update":9223372036854775807}`} {
		c.refused("PATCH", path+"/remaining", body, 400, "how many credits", "allocation_update")
	}
	if len(w.changes) != 0 {
		t.Errorf("changes: %q", w.changes)
	}
}

// AP-01: SendGrid's words, the same for a name that nobody has and for another
// account's subuser.
func TestCreditsOfNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	for _, name := range []string{"nobody", "branch"} {
		for _, x := range [][3]string{
			{"GET", "/credits", ""}, {"PUT", "/credits", `{"type":"unlimited"}`}, {"PATCH", "/credits/remaining", `{"allocation_update":1}`},
		} {
			a := c.want(x[0], "/v3/subusers/"+name+x[1], x[2], 400, nil)
			if want := `{"errors":[{"message":"No user found","field":null,"help":null}]}` + "\n"; a.Body != want {
				t.Errorf("%s %s: %s", x[0], name, a.Body)
			}
		}
	}
	if len(w.changes) != 0 {
		t.Errorf("changes: %q", w.changes)
	}
}

// A recurring allowance begins anew with its period in the account's time zone,
// and what was added to it is gone then.
func TestRecurringCredits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	left := func(want int64) {
		t.Helper()
		v := decode[creditView](t, c.want("GET", "/v3/subusers/staging/credits", "", 200, nil))
		if *v.Remain != want {
			t.Errorf("at %v: %d left, want %d", w.clock(), *v.Remain, want)
		}
	}
	subusersOf(w).use(w.staging, t0.AddDate(0, 0, -1), 1000) // yesterday
	c.want("PUT", "/v3/subusers/staging/credits", `{"type":"recurring","reset_frequency":"daily","total":10}`, 200, nil)
	subusersOf(w).use(w.staging, t0, 4)
	left(6)
	c.want("PATCH", "/v3/subusers/staging/credits/remaining", `{"allocation_update":3}`, 200, nil)
	left(9)
	c.want("PATCH", "/v3/subusers/staging/credits/remaining", `{"allocation_update":20}`, 200, nil)
	left(29)
	c.want("PATCH", "/v3/subusers/staging/credits/remaining", `{"allocation_update":-19}`, 200, nil)
	left(10)
	c.refused("PATCH", "/v3/subusers/staging/credits/remaining", `{"allocation_update":-100}`, 400, "lower total", "allocation_update")
	subusersOf(w).use(w.staging, t0.AddDate(0, 0, 1), 2) // put off until tomorrow
	left(10)
	w.pass(15 * time.Hour) // midnight
	left(8)
}

func TestPeriodDays(t *testing.T) {
	t.Parallel()
	day := func(s string) int64 {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d.Unix() / 86400
	}
	for _, x := range []struct{ reset, at, first, last string }{
		{"daily", "2026-03-01", "2026-03-01", "2026-03-01"},
		{"weekly", "2026-03-01", "2026-02-23", "2026-03-01"}, // a Sunday
		{"weekly", "2026-03-02", "2026-03-02", "2026-03-08"}, // a Monday
		{"monthly", "2026-02-28", "2026-02-01", "2026-02-28"},
		{"monthly", "2028-02-05", "2028-02-01", "2028-02-29"},
		{"monthly", "2026-12-31", "2026-12-01", "2026-12-31"},
		{"weekly", "2027-01-01", "2026-12-28", "2027-01-03"},
	} {
		at, _ := time.Parse(time.DateOnly, x.at)
		for _, hour := range []time.Duration{0, 23} {
			if first, last := periodDays(x.reset, at.Add(hour*time.Hour)); first != day(x.first) || last != day(x.last) {
				t.Errorf("%s %s: %d to %d, want %s to %s", x.reset, x.at, first, last, x.first, x.last)
			}
		}
	}
}

func TestPeriodOf(t *testing.T) {
	t.Parallel()
	used := store.Used{Ever: 100, Days: map[int64]int64{10: 1, 11: 2, 12: 4, 13: 8}}
	if p := periodOf(used, 11, 12); p != (period{before: 86, within: 6, ever: 100}) {
		t.Errorf("%+v", p) // day 10 is before, day 13 is to come
	}
}

func TestTopUp(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		credits relay.Credits
		p       period
		n       int64
		remain  int64 // -1: refused
	}{
		{relay.Credits{Type: relay.CreditsRecurring, Total: 100}, period{1000, 10, 1010}, 5, 95},
		{relay.Credits{Type: relay.CreditsRecurring, Total: 100}, period{1000, 10, 1010}, 50, 140},
		{relay.Credits{Type: relay.CreditsRecurring, Total: 100, Base: 1005}, period{1000, 10, 1010}, 5, 100},
		{relay.Credits{Type: relay.CreditsRecurring, Total: 100, Base: 1005}, period{1000, 10, 1010}, -5, 90},
		{relay.Credits{Type: relay.CreditsRecurring, Total: 100, Base: 1005}, period{1000, 10, 1010}, -6, -1},
		{relay.Credits{Type: relay.CreditsRecurring, Total: 100, Base: 500}, period{1000, 10, 1010}, 5, 95}, // of an earlier period
		{relay.Credits{Type: relay.CreditsNonrecurring, Total: 100, Base: 900}, period{1000, 10, 1010}, 5, 5},
		{relay.Credits{Type: relay.CreditsNonrecurring, Total: 100, Base: 1000}, period{1000, 10, 1010}, -95, 0},
		{relay.Credits{Type: relay.CreditsUnlimited}, period{}, 5, -1},
		{relay.Credits{}, period{}, 5, -1},
	} {
		credits := x.credits
		err := topUp(&credits, x.p, x.n)
		remain, used := left(credits, x.p)
		if (err != nil) != (x.remain < 0) || err == nil && remain != x.remain || used < 0 {
			t.Errorf("%+v + %d: %d left, %v; want %d", x.credits, x.n, remain, err, x.remain)
		}
	}
}

// The answer and the ledger, which refuses mail, count alike: with mail that was
// put off, and after every kind of change.
func TestCreditsAsTheLedgerCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := parent(w, w.acme)
	f := subusersOf(w)
	account, _ := w.Account(w.acme.Account)
	agree := func(step string) {
		t.Helper()
		v := decode[creditView](t, c.want("GET", "/v3/subusers/staging/credits", "", 200, nil))
		s, _ := w.SubuserNamed("staging")
		usage, err := credit.New(credit.Config{Store: f, Now: w.clock}).Usage(t.Context(), account, &s, nil)
		if err != nil {
			t.Fatal(err)
		}
		u := usage[len(usage)-1] // the allowance stands last
		if u.Subject != "subuser" || u.Limit != s.Plan.Credits.Total || u.Remaining != *v.Remain {
			t.Errorf("%s: %d left, the ledger says %+v", step, *v.Remain, u)
		}
	}
	f.use(w.staging, t0.AddDate(0, 0, -3), 500)
	f.use(w.staging, t0, 7)
	f.use(w.staging, t0.AddDate(0, 0, 1), 5) // put off until tomorrow
	for _, kind := range []string{`"recurring","reset_frequency":"daily"`, `"recurring","reset_frequency":"weekly"`, `"recurring","reset_frequency":"monthly"`, `"nonrecurring"`} {
		c.want("PUT", "/v3/subusers/staging/credits", `{"type":`+kind+`,"total":100}`, 200, nil)
		agree(kind)
		f.use(w.staging, w.clock(), 9)
		agree(kind + " used")
		for _, n := range []string{"4", "30", "-20"} {
			c.want("PATCH", "/v3/subusers/staging/credits/remaining", `{"allocation_update":`+n+`}`, 200, nil)
			agree(kind + " " + n)
		}
		w.pass(26 * time.Hour)
		agree(kind + " later")
	}
}
