package export

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/internal/webhook"
)

// poster keeps what is posted, as a receiver that is sometimes down.
type poster struct {
	down bool
	fail error
	ids  []string
	got  map[string]int
	most int
}

func (p *poster) Post(_ context.Context, url string, secrets [][]byte, id string, body []byte) error {
	p.ids = append(p.ids, id)
	p.most = max(p.most, len(body))
	if p.fail != nil {
		return p.fail
	}
	if p.down || url != "https://hooks.test/in" || len(secrets) != 2 {
		return errors.New("no")
	}
	var list []line
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	for _, l := range list {
		p.got[l.ID]++
	}
	return nil
}

func (p *poster) Close() {}

// A record that is larger than a post may be goes without its body: it holds up none of
// those behind it.
func TestHookCutsWhatNoPostTakes(t *testing.T) {
	t.Parallel()
	at := time.Now()
	large := Record{Stream: Events, ID: "event-1-2", At: at, Name: "mail.received", Text: "received", Body: []byte(`{"recipients":"` + strings.Repeat("<", webhook.MaxBody/4) + `"}`)}
	records := []Record{{Stream: Events, ID: "event-1-1", At: at, Body: []byte("{}")}, large, {Stream: Events, ID: "event-1-3", At: at, Body: []byte("{}")}}
	p := &poster{got: map[string]int{}}
	hook := &Hook{URL: "https://hooks.test/in", Secrets: [][]byte{[]byte("new"), []byte("old")}, Client: p}
	if _, err := hook.Send(t.Context(), records); err != nil || len(p.got) != 3 || p.most > webhook.MaxBody {
		t.Errorf("%v, %v, largest post %d octets", err, p.got, p.most)
	}
	// So does one whose text alone is too long, with the beginning of it.
	long := Record{Stream: Events, ID: "event-1-4", At: at, Text: strings.Repeat("é<", webhook.MaxBody), Body: []byte("{}")}
	if _, err := hook.Send(t.Context(), []Record{long}); err != nil || p.got["event-1-4"] != 1 {
		t.Errorf("%v, largest post %d octets", err, p.most)
	}
	// One that just fits is whole.
	large.Body = []byte(`"` + strings.Repeat("x", webhook.MaxBody-300) + `"`)
	text, err := element(&large)
	if err != nil || len(text) < webhook.MaxBody-300 {
		t.Errorf("%d octets, %v", len(text), err)
	}
}

// A batch is posted in parts that receivers take, and a part that comes again has
// the same id. (Signatures are internal/webhook's.)
func TestHookPostsParts(t *testing.T) {
	t.Parallel()
	p := &poster{down: true, got: map[string]int{}}
	hook := &Hook{URL: "https://hooks.test/in", Secrets: [][]byte{[]byte("new"), []byte("old")}, Client: p}
	many := make([]Record, 300)
	for i := range many {
		many[i] = Record{Stream: Events, ID: "event-1-" + strconv.Itoa(i), At: time.Now(), Name: "mail.delivered", Text: strings.Repeat("x", 3000), Body: []byte("{}")}
	}
	many[150].Text = strings.Repeat("y", 300_000) // larger than a part alone
	if _, err := hook.Send(t.Context(), many); err == nil || len(p.ids) != 1 {
		t.Fatalf("a refusal counts as taken, or did not end the batch: %v, %d posts", err, len(p.ids))
	}
	p.down = false
	if _, err := hook.Send(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if len(p.got) != 300 || p.got["event-1-150"] != 1 || len(p.ids) < 5 || p.ids[0] != p.ids[1] || p.most > 310_000 {
		t.Errorf("%d records, largest post %d octets, posts %q", len(p.got), p.most, p.ids)
	}
	if err := hook.Close(); err != nil {
		t.Error(err)
	}
}
