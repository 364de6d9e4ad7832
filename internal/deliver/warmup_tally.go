package deliver

import "encoding/binary"

// The kept form of a tally: a version, the five numbers as varints, then each site
// as eight octets of its hash and a varint.
const tallyVersion = 1

// pack writes a tally.
func (t *tally) pack() []byte {
	b := make([]byte, 0, 32+12*len(t.sites))
	b = append(b, tallyVersion)
	for _, n := range []int64{t.hour, int64(t.ends), int64(t.day), t.sent, t.bad} {
		b = binary.AppendVarint(b, n)
	}
	for site, n := range t.sites {
		b = binary.BigEndian.AppendUint64(b, uint64(site))
		b = binary.AppendVarint(b, int64(n))
	}
	return b
}

// unpackTally reads what pack wrote. False: it is nothing of the kind, and the
// address begins its hour and day anew.
func unpackTally(b []byte) (tally, bool) {
	t := tally{sites: map[siteHash]int{}}
	if len(b) == 0 || b[0] != tallyVersion {
		return t, false
	}
	b = b[1:]
	var head [5]int64
	for i := range head {
		v, n := binary.Varint(b)
		if n <= 0 || v < 0 {
			return t, false
		}
		head[i], b = v, b[n:]
	}
	t.hour, t.ends, t.day, t.sent, t.bad = head[0], int(min(head[1], 62)), int(min(head[2], 1<<31)), head[3], head[4]
	for len(b) > 0 && len(t.sites) < maxWarmupSites {
		if len(b) < 9 {
			return t, false
		}
		site := siteHash(binary.BigEndian.Uint64(b))
		v, n := binary.Varint(b[8:])
		if n <= 0 || v < 0 || v > 1<<31 {
			return t, false
		}
		t.sites[site], b = int(v), b[8+n:]
	}
	return t, true
}
