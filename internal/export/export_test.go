package export

import (
	"encoding/json"
	"testing"

	"postern/internal/relay"
)

func TestRecordsSayWhat(t *testing.T) {
	t.Parallel()
	r, err := EventRecord(&relay.Event{Epoch: 3, Seq: 9, Kind: relay.EventBounced, Recipient: "ann@x.test", Data: []byte(`{"reply":"550 5.1.1 no\nsuch"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != "event-3-9" || r.Name != "mail.bounced" || r.Severity != Notice || r.Text != `bounced to="ann@x.test" reply="550 5.1.1 no\nsuch"` {
		t.Errorf("%+v", r)
	}
	r, err = EventRecord(&relay.Event{Kind: relay.EventAlert, Data: []byte(`{"alert":{"kind":"canary","text":"a canary was tried"}}`)})
	if err != nil || r.Name != "alert.canary" || r.Severity != Alert || r.Text != "a canary was tried" {
		t.Errorf("%+v, %v", r, err)
	}
	for severity, want := range map[relay.WatchSeverity]Severity{relay.WatchNotice: Notice, relay.WatchWarning: Warning, relay.WatchCritical: Alert, "": Warning} {
		r, err = EventRecord(&relay.Event{Kind: relay.EventAlert, Data: []byte(`{"alert":{"kind":"watch","text":"a new country","rule":"network","severity":"` + string(severity) + `"}}`)})
		if err != nil || r.Name != "alert.watch" || r.Severity != want || r.Text != "a new country" {
			t.Errorf("a finding of severity %q: %+v, %v", severity, r, err)
		}
	}
	r, err = EventRecord(&relay.Event{Kind: relay.EventAlert, Data: []byte(`{"alert":{"kind":"ban","severity":"critical"}}`)})
	if err != nil || r.Severity != Warning {
		t.Errorf("the severity of what is no finding: %+v, %v", r, err)
	}
	r, err = EventRecord(&relay.Event{Epoch: 1, Seq: 2, Kind: relay.EventHeld, Data: []byte(`{`)})
	if err != nil || r.ID != "event-1-2" || r.Text != "held (the rest of the record is damaged)" || !json.Valid(r.Body) {
		t.Errorf("damaged data: %+v, %v", r, err)
	}
}
