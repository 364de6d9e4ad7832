package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"postern/internal/webhook"
)

// Poster posts signed JSON; *webhook.Client is one.
type Poster interface {
	Post(ctx context.Context, url string, secrets [][]byte, id string, body []byte) error
	Close()
}

// Hook posts records as arrays of JSON.
type Hook struct {
	URL     string
	Secrets [][]byte // the new one first, while it changes
	Client  Poster
}

var _ Poster = (*webhook.Client)(nil)

// hookBytes is how large a post becomes, but for one that a single record makes
// larger.
const hookBytes = 256 << 10

// longText is what is left, in octets, of the text of a record that is too large even
// without its body.
const longText = 64 << 10

// Send implements Target. The id of a post follows from the records in it, so that
// the receiver knows one that comes again.
func (t *Hook) Send(ctx context.Context, records []Record) (taken int, err error) {
	var body bytes.Buffer
	first := 0
	for i := range records {
		text, err := element(&records[i])
		if err != nil {
			return first, fmt.Errorf("encode %s: %w", records[i].ID, err)
		}
		if body.Len() > 0 && body.Len()+len(text) > hookBytes {
			if err := t.post(ctx, &body, records[first:i]); err != nil {
				return first, err
			}
			first = i
		}
		if body.Len() == 0 {
			body.WriteByte('[')
		} else {
			body.WriteByte(',')
		}
		body.Write(text)
	}
	if err := t.post(ctx, &body, records[first:]); err != nil {
		return first, err
	}
	return len(records), nil
}

// element is a record in an array. One that no post has room for, such as mail to ten
// thousand recipients, goes without its body: it must not stand in the way of all that
// comes after it.
func element(r *Record) ([]byte, error) {
	l := lineOf(r)
	text, err := json.Marshal(l)
	if err == nil && len(text)+len("[]") > webhook.MaxBody {
		l.Record = nil
		text, err = json.Marshal(l)
	}
	if err == nil && len(text)+len("[]") > webhook.MaxBody {
		l.Text = strings.ToValidUTF8(l.Text[:min(len(l.Text), longText)], "")
		text, err = json.Marshal(l)
	}
	return text, err
}

func (t *Hook) post(ctx context.Context, body *bytes.Buffer, records []Record) error {
	body.WriteByte(']')
	id := fmt.Sprintf("%s.%d", records[0].ID, len(records))
	err := t.Client.Post(ctx, t.URL, t.Secrets, id, body.Bytes())
	body.Reset()
	var no *webhook.Refused
	switch {
	case !errors.As(err, &no):
		return err
	case judged(no.Status):
		return &Refusal{Records: len(records), Status: no.Status, Judged: true}
	}
	return &Later{After: no.After, Err: err}
}

// Close implements Target.
func (t *Hook) Close() error { t.Client.Close(); return nil }
