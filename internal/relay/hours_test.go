package relay

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func mustHours(t testing.TB, s string) Hours {
	t.Helper()
	h, err := ParseHours(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return h
}

func TestParseHours(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                    "",
		"  ":                                  "",
		"mon-fri 08-18":                       "mon-fri 08-18",
		"MON-Fri 8-18":                        "mon-fri 08-18",
		"mon , tue 8:00 - 18:00":              "mon,tue 08-18",
		"sat,sun 10:30-12:00; mon 22-24":      "mon 22-24; sat,sun 10:30-12:00",
		"mon 08-12,13-18":                     "mon 08-12,13-18",
		"mon 13-18;mon 08-12":                 "mon 08-12,13-18",
		"mon 08-12; mon 11:30-18":             "mon 08-18",
		"mon 08-12; mon 12-18":                "mon 08-18",
		"mon-fri 22-06":                       "mon-fri 22-06",
		"mon 22-24; tue 00-06":                "mon 22-06",
		"sun 22-06":                           "sun 22-06",
		"sun 22-24; mon 00-06":                "sun 22-06",
		"sun 12-24; mon 00-24":                "mon 00-24; sun 12-24",
		"fri-mon 08-18":                       "mon,fri-sun 08-18",
		"sun":                                 "sun 00-24",
		"sat,sun":                             "sat,sun 00-24",
		"08-18":                               "mon-sun 08-18",
		"00-24":                               "mon-sun 00-24",
		"22-06":                               "mon-sun 22-06",
		"mon 22-24; tue 00-22":                "mon 22-24; tue 00-22",
		"mon 22-24; tue 00-21:59":             "mon 22:00-21:59",
		"mon 12-24; tue; wed 00-12":           "mon 12-24; tue 00-24; wed 00-12",
		"mon 00:01-00:02; wed 00:01-00:02":    "mon,wed 00:01-00:02",
		"mon 9-17; tue 9-17; wed-thu 09-17":   "mon-thu 09-17",
		"mon 08-12; tue 08-12,13-14; fri 8-9": "mon 08-12; tue 08-12,13-14; fri 08-09",
	} {
		h, err := ParseHours(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if got := h.String(); got != want {
			t.Errorf("%q is written %q, want %q", in, got, want)
		}
		if got := mustHours(t, h.String()).String(); got != want {
			t.Errorf("%q does not round-trip: %q", want, got)
		}
	}
}

func TestParseHoursRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"always":                  "not a day",
		"mon-fri 08":              "not a range",
		"mon 08-25":               "not a time",
		"mon 08-24:01":            "not a time",
		"mon 08:60-09":            "not a time",
		"mon 08:5-09":             "not a time",
		"mon 008-09":              "not a time",
		"mon 08-08":               "is empty",
		"mon 24-06":               "write 00",
		"mon 08-18;":              "entry is empty",
		"; mon 08-18":             "entry is empty",
		"mon- 08-18":              "not a day",
		"mon tue 08-18":           "not a day",
		"mon 08-18,":              "not a range",
		"mon 08-18 tue 09-10":     "not a time",
		"mon -1-5":                "not a day",
		"mon 08-09-10":            "not a time",
		"mön 08-18":               "not a day",
		strings.Repeat("x", 1001): "longer than",
	} {
		_, err := ParseHours(in)
		if err == nil || KindOf(err) != Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func TestHoursOpen(t *testing.T) {
	t.Parallel()
	tokyo := Zone("Asia/Tokyo")
	h := mustHours(t, "mon-fri 08-18; fri 22-06")
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 59, 999, tokyo) } // the 2nd is a Monday
	for _, tt := range []struct {
		t    time.Time
		open bool
		next time.Time
	}{
		{at(2, 7, 59), false, time.Date(2026, 11, 2, 8, 0, 0, 0, tokyo)},
		{at(2, 8, 0), true, at(2, 8, 0)},
		{at(2, 17, 59), true, at(2, 17, 59)},
		{at(2, 18, 0), false, time.Date(2026, 11, 3, 8, 0, 0, 0, tokyo)},
		{at(6, 18, 0), false, time.Date(2026, 11, 6, 22, 0, 0, 0, tokyo)},
		{at(6, 23, 0), true, at(6, 23, 0)},
		{at(7, 5, 59), true, at(7, 5, 59)},
		{at(7, 6, 0), false, time.Date(2026, 11, 9, 8, 0, 0, 0, tokyo)},
		{at(8, 12, 0), false, time.Date(2026, 11, 9, 8, 0, 0, 0, tokyo)},
	} {
		if got := h.Open(tt.t); got != tt.open {
			t.Errorf("open at %v: %v", tt.t, got)
		}
		if got := h.Next(tt.t); !got.Equal(tt.next) {
			t.Errorf("next after %v: %v, want %v", tt.t, got, tt.next)
		}
	}
	if always := (Hours{}); !always.Open(at(8, 3, 0)) || !always.Next(at(8, 3, 0)).Equal(at(8, 3, 0)) {
		t.Error("no hours are not always open")
	}
}

// The clock of Berlin goes from 02:00 to 03:00 on 28 March 2027, and from 03:00
// back to 02:00 on 31 October 2027, both Sundays.
func TestHoursWhenTheClockChanges(t *testing.T) {
	t.Parallel()
	berlin := Zone("Europe/Berlin")
	utc := func(month time.Month, day, hour, minute int) time.Time {
		return time.Date(2027, month, day, hour, minute, 0, 0, time.UTC).In(berlin)
	}
	for _, tt := range []struct {
		hours      string
		from, next time.Time
	}{
		{"sun 02-03", utc(3, 27, 12, 0), utc(4, 4, 0, 0)},        // left out this week: a week later
		{"sun 02:30-03:30", utc(3, 27, 12, 0), utc(3, 28, 1, 0)}, // its second half remains
		{"sun 04-05", utc(3, 27, 12, 0), utc(3, 28, 2, 0)},
		{"sun 02-02:30", utc(10, 30, 12, 0), utc(10, 31, 0, 0)},
		{"sun 02-02:30", utc(10, 31, 0, 30), utc(10, 31, 1, 0)}, // the same clock time, a second time
		{"sun 02-02:30", utc(10, 31, 1, 30), utc(11, 7, 1, 0)},
	} {
		h := mustHours(t, tt.hours)
		got := h.Next(tt.from)
		if !got.Equal(tt.next) || !h.Open(got) {
			t.Errorf("%s after %v: %v, want %v", tt.hours, tt.from, got, tt.next)
		}
	}
}

// Next is the first open minute, by looking at every minute in turn.
func TestHoursNextIsTheFirstOpenMinute(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo", "America/St_Johns"} {
		loc := Zone(zone)
		for _, text := range []string{"mon-fri 08-18", "sun 23:30-00:15", "sat 00-02:10; fri 01:45-02", "thu,fri 23:59-00:01"} {
			h := mustHours(t, text)
			for start := time.Date(2027, 3, 20, 0, 0, 0, 0, loc); start.Before(time.Date(2027, 5, 10, 0, 0, 0, 0, loc)); start = start.Add(7*time.Hour + 13*time.Minute) {
				want := start
				for !h.Open(want) {
					want = want.Add(time.Minute)
				}
				if got := h.Next(start); !got.Equal(want) {
					t.Fatalf("%s in %s after %v: %v, want %v", text, zone, start, got, want)
				}
			}
		}
	}
}

func TestZone(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"": "UTC", "UTC": "UTC", "Local": "UTC", "Nowhere/Never": "UTC", "../../etc/passwd": "UTC", "Europe/Berlin": "Europe/Berlin",
	} {
		if got := Zone(name).String(); got != want {
			t.Errorf("%q is %s, want %s", name, got, want)
		}
	}
}

func FuzzParseHours(f *testing.F) {
	for _, s := range []string{"", "mon-fri 08-18", "sat,sun 10:30-12:00; mon 22-24", "22-06", "fri-mon", "sun 23:59-00:01,5-6"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHours(s)
		if err != nil {
			if KindOf(err) != Invalid {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		again, err := ParseHours(h.String())
		if err != nil || again.String() != h.String() {
			t.Fatalf("%q is written %q, read back as %q, %v", s, h, again, err)
		}
		monday := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
		for m := range weekMinutes {
			at := monday.Add(time.Duration(m) * time.Minute)
			if h.Open(at) != again.Open(at) {
				t.Fatalf("%q and %q differ at %v", s, h, at)
			}
		}
		if next := h.Next(monday); !h.Open(next) || next.Sub(monday) > 7*24*time.Hour {
			t.Fatalf("%q: next %v", s, next)
		}
	})
}

func BenchmarkHoursOpen(b *testing.B) {
	h := mustHours(b, "mon-fri 08-18; sat 10-12")
	at := time.Date(2026, 11, 4, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		h.Open(at)
	}
}
