package watch

import "math"

// volume is how much a key sends.
type volume struct {
	Now float32 `json:"v_now,omitempty"` // recipients in the open hour
	// Slots are the usual recipients in each hour of the week, Weeks how many weeks
	// they rest on.
	Slots [week]float32 `json:"v_slots,omitzero"`
	Weeks [week]uint8   `json:"v_weeks,omitzero"`
	// Peak is the largest hour; it fades by half in 140 days of use.
	Peak float32 `json:"v_peak,omitempty"`
	// Excess says how far beyond the usual the worst hour of each day was.
	Excess stat `json:"v_excess,omitzero"`
	// Of the day that is open: its largest hour, its worst excess, and whether there
	// was a finding.
	DayPeak   float32 `json:"v_day_peak,omitempty"`
	DayExcess float32 `json:"v_day_excess,omitempty"`
	DaySent   bool    `json:"v_sent,omitempty"`
	Burst     bool    `json:"v_burst,omitempty"`
}

// slow is the weight of a new week once there are five.
const slow = 0.2

// usual is what an hour of the week has, the hours beside it too: the clock is
// changed in spring and autumn, and no job starts on the second.
func (v *volume) usual(slot int) float64 {
	return float64(max(v.Slots[(slot+week-1)%week], v.Slots[slot], v.Slots[(slot+1)%week]))
}

// excess is how far a number is beyond the usual, as the logarithm of their
// quotient. Small numbers are taken as if there were a few more, or chance would
// count as much as change.
func (v *volume) excess(n, usual float64) float64 {
	few := 5 + 0.02*float64(v.Peak)
	return math.Log((n + few) / (usual + few))
}

// closeVolume takes the hour that is over into its slot, and the silent ones up
// to the next use into theirs. A week without any mail is a holiday or a fault,
// not a habit: it teaches nothing.
func (v *volume) closeVolume(hour, next int64) {
	slot := int((hour + 3*24) % week)
	if !v.Burst {
		v.learn(slot, v.Now)
	}
	v.Now = 0
	if next-hour <= week+24 {
		for h := hour + 1; h < next; h++ {
			v.learn(int((h+3*24)%week), 0)
		}
	}
}

func (v *volume) learn(slot int, n float32) {
	w := max(1/float32(v.Weeks[slot]+1), slow)
	v.Slots[slot] += w * (n - v.Slots[slot])
	if v.Slots[slot] < 0.01 {
		v.Slots[slot] = 0
	}
	if v.Weeks[slot] < 200 {
		v.Weeks[slot]++
	}
}

// send counts recipients of the open hour.
func (v *volume) send(n int, slot int) {
	v.Now += float32(n)
	v.DaySent = true
	v.DayPeak = max(v.DayPeak, v.Now)
	v.DayExcess = max(v.DayExcess, float32(v.excess(float64(v.Now), v.usual(slot))))
}

// closeVolumeDay takes the day into what is usual; of a day with a finding half
// of what was beyond, so that neither harm becomes usual at once nor a habit that
// nobody said anything about is reported for ever.
func (v *volume) closeVolumeDay() {
	if v.DaySent {
		peak, excess := v.DayPeak, float64(v.DayExcess)
		if v.Burst {
			peak = min(peak, float32(math.Sqrt(float64(peak)*float64(max(v.Peak, 1)))))
			excess = math.Min(excess, (excess+float64(v.Excess.Max))/2)
		}
		v.Excess.add(excess)
		v.Peak = max(v.Peak*maxFades, peak)
	}
	v.DayPeak, v.DayExcess, v.DaySent, v.Burst = 0, 0, false, false
}

// busy is in how many hours of the week there is mail.
func (v *volume) busy() (n int) {
	for _, x := range v.Slots {
		if x > 0 {
			n++
		}
	}
	return n
}

// share is what part of a week's mail its largest hour has: large for a key that
// sends in batches, small for one that sends all the time.
func (v *volume) share() float64 {
	var sum, most float32
	for _, n := range v.Slots {
		sum += n
		most = max(most, n)
	}
	if sum == 0 {
		return 1
	}
	return float64(most / sum)
}
