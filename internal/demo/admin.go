package demo

import (
	"bytes"
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

// ask makes one request and reads the answer into out.
func (r *records) ask(ctx context.Context, method, path string, body, out any) error {
	account := ""
	if path == keysPath { // the records are asked of all accounts: a refused stranger has none
		account = customerAccount
	}
	return r.askAs(ctx, account, method, path, body, out)
}

// askAs is ask for an account; out nil: the answer does not matter.
func (r *records) askAs(ctx context.Context, account, method, path string, body, out any) error {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("ask the relay for %s: %w", path, err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://postern/"+path, send)
	if err != nil {
		return fmt.Errorf("ask the relay for %s: %w", path, err)
	}
	if account != "" {
		req.Header.Set("Account-Id", account)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the relay for %s: %w", path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask the relay for %s: %w", path, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("ask the relay for %s: %s: %.300s", path, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("ask the relay for %s: %w", path, err)
	}
	return nil
}

func list[T any](ctx context.Context, r *records, path string, query url.Values) ([]T, error) {
	var answer struct {
		Result []T `json:"result"`
	}
	err := r.ask(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &answer)
	return answer.Result, err
}

// keysPath is the path of the keys of one account.
const keysPath = "v3/api_keys"

// newKey makes a key of the customer that may do everything, to try everything
// with. Each demo has its own, because nobody knows the secret of an earlier one.
func (r *records) newKey(ctx context.Context) (string, error) {
	var key struct {
		APIKey string `json:"api_key"`
	}
	err := r.ask(ctx, http.MethodPost, keysPath, map[string]any{"name": "demo", "scopes": relay.FullAccess()}, &key)
	return key.APIKey, err
}

// patience is how long a record may take to appear.
const patience = 20 * time.Second

// event waits for an event of a message.
func (r *records) event(ctx context.Context, message string, kind relay.EventKind) (relay.Event, relay.EventData, error) {
	var last relay.EventKind
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		events, err := list[relay.Event](ctx, r, "admin/v1/events", url.Values{"message": {message}})
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
		logins, err := list[relay.Login](ctx, r, "v3/logins", url.Values{"since": {since.UTC().Format(time.RFC3339)}, "newest": {"true"}, "limit": {"1000"}})
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
