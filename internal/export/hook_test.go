package export

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

// poster keeps what is posted, as a receiver that is sometimes down.
type poster struct {
	down bool
	ids  []string
	got  map[string]int
	most int
}

func (p *poster) Post(_ context.Context, url string, secrets [][]byte, id string, body []byte) error {
	p.ids = append(p.ids, id)
	p.most = max(p.most, len(body))
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
	if err := hook.Send(t.Context(), many); err == nil || len(p.ids) != 1 {
		t.Fatalf("a refusal counts as taken, or did not end the batch: %v, %d posts", err, len(p.ids))
	}
	p.down = false
	if err := hook.Send(t.Context(), many); err != nil {
		t.Fatal(err)
	}
	if len(p.got) != 300 || p.got["event-1-150"] != 1 || len(p.ids) < 5 || p.ids[0] != p.ids[1] || p.most > 310_000 {
		t.Errorf("%d records, largest post %d octets, posts %q", len(p.got), p.most, p.ids)
	}
	if err := hook.Close(); err != nil {
		t.Error(err)
	}
}
