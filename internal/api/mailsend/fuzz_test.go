package mailsend

import (
	"bytes"
	"errors"
	"testing"

	"postern/internal/message"
)

// FuzzParse: no body makes it panic, every refusal says why, and whatever is
// accepted is written as a message that the strict parser reads, from whom it
// was given, with no octet that is not allowed.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add(toJSON(f, rich()))
	for _, row := range documented {
		if len(row.edit) < 1000 {
			f.Add(edited(f, row.edit))
		}
	}
	f.Add([]byte(`{"subject":"\ud800","a":[1,{"b":"\\\""}]} `))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Parse(body, Options{Now: now, Pool: func(string) bool { return true }, Batch: func(string) bool { return true }})
		if err != nil {
			refused, ok := errors.AsType[*Refusal](err)
			if !ok || refused.Status < 400 || refused.Status > 415 || len(refused.Faults) == 0 || len(refused.Faults) > maxFaults {
				t.Fatalf("%v", err)
			}
			return
		}
		if r.Weight() <= 0 || r.Len() == 0 || r.Len() > maxPersonalizations {
			t.Fatalf("weight %d, %d messages", r.Weight(), r.Len())
		}
		for i := range min(r.Len(), 3) {
			fuzzCompose(t, r, i)
		}
	})
}

func fuzzCompose(t *testing.T, r *Request, i int) {
	head, pieces, err := r.Compose(i, stamp)
	if err != nil {
		if _, ok := errors.AsType[*Refusal](err); !ok {
			t.Fatalf("%v", err)
		}
		return
	}
	m := r.Message(i)
	if m.From.Address.IsZero() || len(m.To) == 0 || len(m.Recipients()) > maxRecipients {
		t.Fatalf("%+v", m)
	}
	h, err := message.ParseHeader(head, message.Limits{Bytes: 1 << 30, Fields: 1 << 20, Octets: message.UTF8})
	if err != nil {
		t.Fatalf("%v: %q", err, head)
	}
	id, err := message.Identify(&h, true)
	if message.ReasonOf(err) == message.Unparseable || err == nil && id.From.Address != m.From.Address {
		t.Fatalf("%v: %v: %q", err, id, head)
	}
	if h.Count("Bcc") != 0 || h.Count("From") != 1 || h.NonASCII() && !r.SMTPUTF8(i) {
		t.Fatalf("%q", head)
	}
	all := bytes.ReplaceAll(append(head, bytes.Join(pieces, nil)...), []byte("\r\n"), nil)
	if bytes.ContainsAny(all, "\r\n\x00") {
		t.Fatalf("a bare CR or LF, or a NUL: %q", all)
	}
}
