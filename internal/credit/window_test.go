package credit

import (
	"testing"
	"time"

	"postern/internal/relay"
)

// RX-07: each window of each subject is filled, stays full until its last
// moment, and has room in the next one.
func TestWindows(t *testing.T) {
	t.Parallel()
	at := func(zone string, y int, m time.Month, d, h, min, s int) time.Time {
		return time.Date(y, m, d, h, min, s, 0, relay.Zone(zone))
	}
	const berlin, tokyo = "Europe/Berlin", "Asia/Tokyo"
	for _, tt := range []struct {
		name     string
		zone     string
		set      func(*Claim)
		from, to time.Time // full since; the first moment with room
	}{
		{"key minute", "", func(c *Claim) { c.Key.PerMinute = 5 }, start, start.Add(61 * time.Second)},
		{"key hour", "", func(c *Claim) { c.Key.PerHour = 5 }, start.Add(30 * time.Second), start.Add(61 * time.Minute)},
		{"subuser hour", "", func(c *Claim) { c.Subuser.Plan.Hour = 5 }, start.Add(59 * time.Second), start.Add(61 * time.Minute)},
		{"account hour", "", func(c *Claim) { c.Account.Plan.Hour = 5 }, start, start.Add(61 * time.Minute)},
		{"key day", tokyo, func(c *Claim) { c.Key.PerDay = 5 }, at(tokyo, 2026, 11, 2, 0, 0, 0), at(tokyo, 2026, 11, 3, 0, 0, 0)},
		{"subuser day", "", func(c *Claim) { c.Subuser.Plan.Day = 5 }, start, at("", 2026, 11, 3, 0, 0, 0)},
		{"account day of 23 hours", berlin, func(c *Claim) { c.Account.Plan.Day = 5 }, at(berlin, 2027, 3, 28, 0, 0, 0), at(berlin, 2027, 3, 28, 0, 0, 0).Add(23 * time.Hour)},
		{"account day of 25 hours", berlin, func(c *Claim) { c.Account.Plan.Day = 5 }, at(berlin, 2027, 10, 31, 0, 0, 0), at(berlin, 2027, 10, 31, 0, 0, 0).Add(25 * time.Hour)},
		{"key month", berlin, func(c *Claim) { c.Key.PerMonth = 5 }, at(berlin, 2028, 2, 1, 0, 0, 0), at(berlin, 2028, 3, 1, 0, 0, 0)},
		{"subuser month", "", func(c *Claim) { c.Subuser.Plan.Month = 5 }, at("", 2026, 12, 31, 23, 59, 59), at("", 2027, 1, 1, 0, 0, 0)},
		{"account month", tokyo, func(c *Claim) { c.Account.Plan.Month = 5 }, at(tokyo, 2026, 11, 1, 0, 0, 0), at(tokyo, 2026, 12, 1, 0, 0, 0)},
		{"daily credits", tokyo, func(c *Claim) { c.Subuser.Plan.Credits = recurring("daily") }, at(tokyo, 2026, 11, 2, 23, 59, 59), at(tokyo, 2026, 11, 3, 0, 0, 0)},
		{"weekly credits", berlin, func(c *Claim) { c.Account.Plan.Credits = recurring("weekly") }, at(berlin, 2027, 10, 25, 0, 0, 0), at(berlin, 2027, 11, 1, 0, 0, 0)},
		{"monthly credits", "", func(c *Claim) { c.Subuser.Plan.Credits = recurring("monthly") }, at("", 2027, 2, 1, 0, 0, 0), at("", 2027, 3, 1, 0, 0, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.set)
			w.claim.Account.TimeZone = tt.zone
			w.now = tt.from
			w.sends(2)
			w.sends(3)
			if e := w.refused(1); !e.ResumesAt.Equal(tt.to) {
				t.Errorf("resumes at %v, want %v", e.ResumesAt, tt.to)
			}
			w.now = tt.to.Add(-time.Second)
			w.refused(1)
			if tt.name != "key minute" { // of a stored minute the seconds are not known
				w.restart()
				w.refused(1)
			}
			w.now = tt.to
			w.sends(5)
			w.refused(1)
		})
	}
}

func recurring(reset string) relay.Credits {
	return relay.Credits{Type: relay.CreditsRecurring, Reset: reset, Total: 5}
}

func TestNonrecurringCredits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.sends(7) // before there was an allowance
	w.claim.Subuser.Plan.Credits = relay.Credits{Type: relay.CreditsNonrecurring, Total: 5, Base: 7}
	w.sends(4)
	w.now = w.now.AddDate(2, 0, 0)
	w.sends(1)
	if e := w.refused(1); !e.ResumesAt.IsZero() || e.Limit.Window != relay.WindowEver || e.Limit.Used != 5 {
		t.Errorf("%+v", e)
	}
	w.claim.Subuser.Plan.Over = relay.OverDefer // there is no later
	w.claim.Deadline = w.now.AddDate(1, 0, 0)
	w.refused(1)
	w.claim.Subuser.Plan.Credits.Base = 12
	w.sends(5)
	w.refused(1)
}

// The remaining credits of a period can be changed within it: what counts then
// begins at the base, until the period ends.
func TestRecurringCreditsFromABase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Subuser.Plan.Credits = recurring("monthly") })
	w.sends(5)
	w.refused(1)
	w.claim.Subuser.Plan.Credits.Base = 8 // 5 used and 8 more wanted: 8 + 5 = 13 in all
	if u := w.usage("subuser", relay.WindowMonth); u.Used != 0 || u.Remaining != 8 || u.Limit != 5 {
		t.Errorf("%+v", u)
	}
	w.sends(8)
	w.refused(1)
	w.now = w.now.AddDate(0, 1, 0)
	w.sends(5) // the base lies before this month
	w.refused(1)
}

// After a restart a minute is as full as it can have been.
func TestMinuteAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) {
		c.Key.PerMinute, c.Subuser.Plan.Over = 5, relay.OverDefer
		c.Deadline = start.AddDate(0, 0, 1)
	})
	w.now = start.Add(10 * time.Second)
	w.sends(3)
	w.now = start.Add(20 * time.Second)
	w.restart()
	w.sends(2)
	w.now = start.Add(75 * time.Second)
	w.restart()
	due := start.Add(120 * time.Second) // 61 s after the end of the first minute
	w.due(1, due)
	w.due(4, due)
	w.restart()
	w.now = start.Add(150 * time.Second) // the minute from 120 on holds five, who knows where
	w.claim.Subuser.Plan.Over = relay.OverRefuse
	w.refused(1)
	w.now = start.Add(179 * time.Second)
	w.refused(1)
	w.now = start.Add(240 * time.Second)
	w.sends(5)
}

// Of a minute in the future that is known from the store only, every second may
// be the full one.
func TestMinuteToComeAfterARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Key.PerMinute = 5 })
	w.store.commit([]relay.UsageDelta{{Subject: keyID.ID, Minute: start.Unix()/60 + 3, Day: start.Unix() / 86400, N: 4}})
	w.sends(2)
	for _, at := range []int{150, 200, 270} {
		w.now = start.Add(time.Duration(at) * time.Second)
		w.refused(2)
		w.restart()
	}
	w.now = start.Add(301 * time.Second)
	w.sends(5)
}

// An allowance of nothing is none at all.
func TestNoCreditsAtAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Subuser.Plan.Credits = relay.Credits{Type: relay.CreditsRecurring, Reset: "daily"} })
	w.refused(1)
	w.claim.Subuser.Plan.Credits.Type = relay.CreditsUnlimited
	w.sends(1000)
}

// A change of the account's time zone keeps what was used on each date.
func TestZoneChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Claim) { c.Account.Plan.Month = 10; c.Account.TimeZone = "Asia/Tokyo" })
	w.now = time.Date(2026, 11, 30, 20, 0, 0, 0, time.UTC) // in Tokyo it is 1 December
	w.claim.Account.TimeZone = "UTC"
	w.sends(6) // on 30 November
	w.claim.Account.TimeZone = "Asia/Tokyo"
	w.sends(9) // on 1 December
	for range 70 {
		if _, err := w.send(2); err == nil {
			t.Fatal("December is full")
		}
	}
	w.claim.Account.TimeZone = "UTC"
	w.sends(4)
	w.refused(1)
	w.restart()
	w.refused(1)
	w.claim.Account.TimeZone = "Asia/Tokyo"
	w.sends(1)
	w.refused(1)
}

func TestCalendar(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		w           relay.Window
		day         string
		first, last string
	}{
		{relay.WindowDay, "2026-11-02", "2026-11-02", "2026-11-02"},
		{relay.WindowWeek, "2026-11-02", "2026-11-02", "2026-11-08"},
		{relay.WindowWeek, "2026-11-08", "2026-11-02", "2026-11-08"},
		{relay.WindowWeek, "2027-01-01", "2026-12-28", "2027-01-03"},
		{relay.WindowMonth, "2028-02-29", "2028-02-01", "2028-02-29"},
		{relay.WindowMonth, "2027-01-31", "2027-01-01", "2027-01-31"},
		{relay.WindowMonth, "2026-12-01", "2026-12-01", "2026-12-31"},
	} {
		parse := func(s string) int64 {
			d, err := time.Parse(time.DateOnly, s)
			if err != nil {
				t.Fatal(err)
			}
			return dayOf(d)
		}
		if first, last := days(tt.w, parse(tt.day)); first != parse(tt.first) || last != parse(tt.last) {
			t.Errorf("%s of %s: %s to %s", tt.w, tt.day, dateOf(first), dateOf(last))
		}
	}
}

// Days begin where the clock says so, also where it leaves midnight out or has it
// twice.
func TestBeginningOfDays(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Sao_Paulo", "America/Havana", "Pacific/Apia", "Africa/Cairo", "Asia/Beirut", "Australia/Lord_Howe"} {
		loc := relay.Zone(zone)
		for day := dayOf(time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)); day < dayOf(time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)); day++ {
			b := beginning(day, loc)
			if got := dayOf(b.In(loc)); got < day || got > day+1 {
				t.Fatalf("%s: day %s begins %v", zone, dateOf(day).Format(time.DateOnly), b)
			}
			if before := dayOf(b.Add(-90 * time.Minute).In(loc)); before >= day {
				t.Fatalf("%s: day %s began before %v", zone, dateOf(day).Format(time.DateOnly), b)
			}
		}
	}
}
