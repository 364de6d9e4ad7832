package mailsend

import (
	"strings"
	"testing"
)

// BenchmarkSmall is a message as most are: two alternatives of a few hundred
// octets, read, judged and written.
func BenchmarkSmall(b *testing.B) {
	body := []byte(`{"personalizations":[{"to":[{"email":"to@example.com","name":"Eva Example"}],"custom_args":{"order":"4711"}}],"from":{"email":"shop@example.org","name":"The Shop"},` +
		`"subject":"Your order 4711","categories":["orders"],"content":[{"type":"text/plain","value":"` + strings.Repeat("Hello Eva, thank you. ", 20) +
		`"},{"type":"text/html","value":"<p>` + strings.Repeat("Hello Eva, thank you. ", 20) + `</p>"}]}`)
	benchmark(b, body)
}

// BenchmarkAttachment is a message with a file of 1 MiB.
func BenchmarkAttachment(b *testing.B) {
	o := goodObject()
	o["attachments"] = []object{{"content": b64(strings.Repeat("\x00\xff\x10", 1<<20/3)), "filename": "a.bin"}}
	benchmark(b, toJSON(b, o))
}

// BenchmarkThousand is a thousand personalizations with substitutions.
func BenchmarkThousand(b *testing.B) {
	o := goodObject()
	var blocks []object
	for i := range 1000 {
		blocks = append(blocks, object{"to": []object{{"email": itoa(i) + "@example.com"}}, "substitutions": object{"-name-": "Eva " + itoa(i)}})
	}
	o["personalizations"] = blocks
	o["content"] = []object{{"type": "text/html", "value": strings.Repeat("<p>Dear -name-, hello</p>\n", 100)}}
	benchmark(b, toJSON(b, o))
}

func benchmark(b *testing.B, body []byte) {
	b.Helper()
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		r, err := Parse(body, Options{Now: now})
		if err != nil {
			b.Fatal(err)
		}
		for i := range r.Len() {
			if _, _, err := r.Compose(i, stamp); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
