package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"postern/internal/relay"
)

// records reads what the relay wrote down, over its admin socket as the command
// line does.
type records struct{ http *http.Client }

// maxAnswer bounds what is read of one answer.
const maxAnswer = 16 << 20

func newRecords(socket string) *records {
	return &records{&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true, // nothing is left open when the relay stops
	}}}
}

func list[T any](ctx context.Context, r *records, path string, query url.Values) ([]T, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://postern/admin/v1/"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the relay for %s: %w", path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the relay for %s: %s", path, resp.Status)
	}
	var answer struct {
		Result []T `json:"result"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("ask the relay for %s: %w", path, err)
	}
	return answer.Result, nil
}

// patience is how long a record may take to appear.
const patience = 20 * time.Second

// event waits for an event of a message.
func (r *records) event(ctx context.Context, message string, kind relay.EventKind) (relay.Event, relay.EventData, error) {
	var last relay.EventKind
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		events, err := list[relay.Event](ctx, r, "events", url.Values{"message": {message}})
		if err != nil {
			return relay.Event{}, relay.EventData{}, err
		}
		for _, e := range events {
			if last = e.Kind; e.Kind == kind {
				var data relay.EventData
				if len(e.Data) > 0 {
					err = json.Unmarshal(e.Data, &data)
				}
				return e, data, err
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return relay.Event{}, relay.EventData{}, fmt.Errorf("message %s is not %s; its last event is %q", message, kind, last)
		}
	}
}

// logins waits until a login with each of the results since a time is on record,
// and counts those that there are.
func (r *records) logins(ctx context.Context, since time.Time, results ...relay.LoginResult) (map[relay.LoginResult]int64, error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		logins, err := list[relay.Login](ctx, r, "logins", url.Values{"since": {since.UTC().Format(time.RFC3339)}})
		if err != nil {
			return nil, err
		}
		count := make(map[relay.LoginResult]int64)
		for _, l := range logins {
			count[l.Result] += max(l.Count, 1)
		}
		complete := true
		for _, want := range results {
			complete = complete && count[want] > 0
		}
		if complete {
			return count, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("logins on record: %v; expected %v", count, results)
		}
	}
}
