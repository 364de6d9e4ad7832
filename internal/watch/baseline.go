package watch

import (
	"encoding/json"
	"fmt"
	"time"
)

// baseline is what was learned of one key. It is stored as JSON, at most
// maxBaseline octets.
type baseline struct {
	First int64 `json:"first"` // Unix seconds of its first use
	// Day, Hour and Slot are those that are open, in the account's time zone: days
	// and hours since 1970, and the hour of the week.
	Day    int32  `json:"day"`
	Hour   int64  `json:"hour"`
	Days   uint32 `json:"days"`             // days on which it was used
	Logins uint32 `json:"logins,omitempty"` // that let it in

	volume
	hours
	people
	ends
	whereabouts
	means
}

// maxBaseline bounds what is kept for one key.
const maxBaseline = 8 << 10

// week is the number of hours in one.
const week = 7 * 24

// clock is a moment as a key's owner lives it.
type clock struct {
	at   time.Time
	day  int32
	hour int64
	slot int // hour of the week, 0: Monday from midnight
}

func clockAt(at time.Time, zone *time.Location) clock {
	local := at.In(zone)
	_, offset := local.Zone()
	seconds := at.Unix() + int64(offset)
	hour := seconds / 3600
	return clock{at: at, day: int32(hour / 24), hour: hour, slot: int((hour + 3*24) % week)} // 1970 began on a Thursday
}

// age is how long the key is known.
func (b *baseline) age(c clock) time.Duration {
	return time.Duration(c.at.Unix()-b.First) * time.Second
}

const day = 24 * time.Hour

// known reports whether the key is known for a time, with some days of use in it.
func (b *baseline) known(c clock, age time.Duration, days uint32) bool {
	return b.age(c) >= age && b.Days >= days
}

// roll closes the hour and the day that are over when something happens later.
// What comes late counts for the hour that is open.
func (b *baseline) roll(c clock) {
	if b.First == 0 {
		b.First, b.Day, b.Hour, b.Days = c.at.Unix(), c.day, c.hour, 1
	}
	if c.hour > b.Hour {
		b.closeHours(c)
		b.Hour = c.hour
	}
	if c.day > b.Day {
		b.closeVolumeDay()
		b.closePlaces()
		b.Day = c.day
		b.Days++
	}
	b.rollPeople(b, c)
	b.rollEnds(b, c)
}

// closeHours takes the hour that is over, and those without mail after it, into
// what is usual.
func (b *baseline) closeHours(c clock) {
	b.closeActive(b.Hour)
	b.closeVolume(b.Hour, c.hour)
}

func (b *baseline) encode() ([]byte, error) {
	text, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write a baseline: %w", err)
	}
	return text, nil
}

func decodeBaseline(text []byte) (*baseline, error) {
	b := &baseline{}
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("read a baseline: %w", err)
	}
	return b, nil
}
