package mailsend

import (
	"runtime"
	"strings"
	"testing"
)

// Bodies that are nothing but an attack take at most four times their octets of
// memory, whether they are refused or not (AP-08, AP-11). Not parallel: it counts
// what the process allocates.
func TestHostileBodies(t *testing.T) {
	const size = 1 << 20
	fill := func(before, unit, after string) string {
		return before + strings.Repeat(unit, size/len(unit)) + after
	}
	rest := good[1:]
	for name, body := range map[string]string{
		"numbers":          fill(`{"x":[0`, ",0", "],") + rest,
		"empty objects":    fill(`{"x":[{}`, ",{}", "],") + rest,
		"personalizations": fill(`{"personalizations":[{}`, ",{}", "]}"),
		"recipients":       fill(`{"personalizations":[{"to":[{}`, ",{}", "]}]}"),
		"contents":         fill(`{"content":[{}`, ",{}", "]}"),
		"attachments":      fill(`{"attachments":[{}`, ",{}", "]}"),
		"categories":       fill(`{"categories":[""`, `,""`, "]}"),
		"reply_to_list":    fill(`{"reply_to_list":[{}`, ",{}", "]}"),
		"groups":           fill(`{"asm":{"groups_to_display":[1`, ",1", "]}}"),
		"one text":         fill(`{"subject":"`, "x", `"}`),
		"escapes":          fill(`{"subject":"`, `\\`, `"}`),
		"quotes":           fill(`{"subject":"`, `\"`, `"}`),
		"a number":         fill(`{"send_at":`, "9", "}"),
		"white space":      fill("{", " ", rest),
		"depth":            fill("", "[", ""),
		"objects in depth": fill("", `{"a":`, ""),
		"base64":           fill(`{"attachments":[{"filename":"a","content":"`, "AAAA", `"}],`) + rest,
		"a name":           fill(`{"from":{"email":"a@x.test","name":"`, "x", `"}}`),
		"an address":       fill(`{"from":{"email":"`, "x", `"}}`),
		"comments":         fill(`{"from":{"email":"`, "(", `"}}`), // HD-04
		"a header's name":  fill(`{"headers":{"`, "x", `":"a"}}`),
		"a header":         fill(`{"headers":{"X-A":"`, "x ", `"}}`), // HD-03
		"custom arguments": fill(`{"custom_args":{"a":"`, "x", `"}}`),
		"text":             strings.Replace(good, `"v"`, `"`+strings.Repeat("ä", size/2)+`"`, 1),
		"text of signs":    strings.Replace(good, `"v"`, `"`+strings.Repeat("=", size)+`"`, 1),
		"text of lines":    strings.Replace(good, `"v"`, `"`+strings.Repeat(`\n`, size/2)+`"`, 1),
		"text of CR":       strings.Replace(good, `"v"`, `"`+strings.Repeat(`\r`, size/2)+`"`, 1),
		"a member's name":  fill(`{"`, "x", `":1}`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := Parse([]byte(body), Options{Now: now})
		if err == nil {
			_, _, err = r.Compose(0, stamp)
		}
		runtime.ReadMemStats(&after)
		n := after.TotalAlloc - before.TotalAlloc - uint64(len(body)) // the copy above
		if n > 4*size {
			t.Errorf("%s: %d MiB for a body of %d MiB (%v)", name, n>>20, size>>20, err)
		}
	}
}
