package watch

// hours is when a key sends.
type hours struct {
	// Active counts, for each hour of the day, the days on which it sent in it.
	Active [24]uint32 `json:"h_active,omitzero"`
	// Solid counts those with more than a stray message.
	Solid [24]uint32 `json:"h_solid,omitzero"`
	Mails float32    `json:"h_mails,omitempty"` // messages in the open hour
	Usual stat       `json:"h_usual,omitzero"`  // messages in an hour with any
}

// closeActive takes the hour that is over.
func (h *hours) closeActive(hour int64) {
	if h.Mails > 0 {
		h.Active[hour%24]++
		h.Usual.add(float64(h.Mails))
	}
	if h.Mails >= hoursFloor {
		h.Solid[hour%24]++
	}
	h.Mails = 0
}

// around is on how many days the key sent in an hour of the day or one beside
// it, solid on how many more than a stray message, and sum in how many hours in
// all.
func (h *hours) around(hour int) (around, solid, sum uint32) {
	for i, n := range h.Active {
		sum += n
		if i == (hour+23)%24 || i == hour || i == (hour+1)%24 {
			around += n
			solid += h.Solid[i]
		}
	}
	return around, solid, sum
}

// people is to whom a key writes.
type people struct {
	Known    sample `json:"p_known"`
	NewHour  ratio  `json:"p_hour,omitzero"`
	NewDay   ratio  `json:"p_day,omitzero"`
	Sampled  uint32 `json:"p_sampled,omitempty"`  // new ones of the day that were sampled
	SampledH uint32 `json:"p_sampledh,omitempty"` // and of the hour
}

// newFades is how the largest number of new recipients of a day fades: it halves in
// twenty days of sending. A key meets most of its recipients in its first weeks,
// and that is no measure of what is usual later; a list that is imported every
// month still is, when the next one comes.
const newFades = 0.965

// firstPeople is how long all recipients are new because the key is.
const firstPeople = 14 * day

func (p *people) rollPeople(b *baseline, c clock) {
	learn := b.age(c) >= firstPeople
	if c.hour > p.NewHour.Window {
		p.SampledH = 0
	}
	if int64(c.day) > p.NewDay.Window {
		p.Sampled = 0
	}
	p.NewHour.roll(c.hour, learn, maxFades)
	p.NewDay.roll(int64(c.day), learn, newFades)
}

// ends is what becomes of a key's mail.
type ends struct {
	BounceHour  ratio `json:"e_bh,omitzero"`
	BounceDay   ratio `json:"e_bd,omitzero"`
	UnknownHour ratio `json:"e_uh,omitzero"`
	UnknownDay  ratio `json:"e_ud,omitzero"`
}

func (e *ends) rollEnds(_ *baseline, c clock) {
	e.BounceHour.roll(c.hour, true, maxFades)
	e.UnknownHour.roll(c.hour, true, maxFades)
	e.BounceDay.roll(int64(c.day), true, maxFades)
	e.UnknownDay.roll(int64(c.day), true, maxFades)
}

// whereabouts is from where a key is used.
type whereabouts struct {
	Networks  marks `json:"w_networks,omitempty"` // wide ones
	Countries marks `json:"w_countries,omitempty"`
	Providers marks `json:"w_providers,omitempty"` // autonomous systems
	NewAt     int32 `json:"w_new,omitempty"`       // day of the last new network that was no finding
	// The last use with a known place, and pairs of places that are used side by side.
	Lat   float32  `json:"w_lat,omitempty"`
	Lon   float32  `json:"w_lon,omitempty"`
	LastU int64    `json:"w_at,omitempty"` // Unix seconds
	Cell  string   `json:"w_cell,omitempty"`
	City  string   `json:"w_city,omitempty"`
	Land  string   `json:"w_land,omitempty"`
	Addr  string   `json:"w_addr,omitempty"`
	ASN   uint     `json:"w_asn,omitempty"`
	Pairs []string `json:"w_pairs,omitempty"`
	// Today are the places of the day that is open, Usual how many a day has.
	Today  []uint32 `json:"w_today,omitempty"`
	Places stat     `json:"w_places,omitzero"`
	Many   bool     `json:"w_many,omitempty"`
}

// The bounds of what is remembered of places.
const (
	maxNetworks  = 32
	maxCountries = 16
	maxProviders = 16
	maxPairs     = 12
	maxToday     = 64
)

func (w *whereabouts) closePlaces() {
	if n := len(w.Today); n > 0 {
		if w.Many {
			n = min(n, int(1.25*float64(w.Places.Max))+1)
		}
		w.Places.add(float64(n))
	}
	w.Today, w.Many = w.Today[:0], false
}

// means is how a key logs in.
type means struct {
	Mechanisms uint16   `json:"m_mechanisms,omitempty"` // bits by strength
	TLS        uint16   `json:"m_tls,omitempty"`        // bits by version
	Names      []string `json:"m_names,omitempty"`      // mechanisms by name, at most 8
}
