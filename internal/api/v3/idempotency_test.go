package v3

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"postern/internal/relay"
	"postern/internal/store"
)

// fakeAnswers keeps answers in memory, with the store's promises.
type fakeAnswers struct {
	w    *world
	rows map[string]store.Idempotency
	fail error // of Finish
}

func answersOf(w *world) *fakeAnswers { return w.services.Answers.(*fakeAnswers) }

func idemID(t relay.Tenant, key, route string) string {
	return t.Account.String() + t.Subuser.String() + key + "\x00" + route
}

func (f *fakeAnswers) ClaimIdempotency(_ context.Context, i store.Idempotency) (*store.Idempotency, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	id := idemID(i.Tenant, i.Key, i.Route)
	if found, ok := f.rows[id]; ok {
		return &found, f.w.fail
	}
	i.Pending, i.CreatedAt = true, f.w.now
	f.rows[id] = i
	return nil, f.w.fail
}

func (f *fakeAnswers) FinishIdempotency(_ context.Context, i store.Idempotency) error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	id := idemID(i.Tenant, i.Key, i.Route)
	if found, ok := f.rows[id]; ok && (!found.Pending || found.Request != i.Request) {
		return relay.E(relay.Conflict, "A request with this Idempotency-Key was answered already.")
	}
	if f.fail != nil {
		return f.fail
	}
	i.Pending = false
	f.rows[id] = i
	return nil
}

func (f *fakeAnswers) DropIdempotency(_ context.Context, t relay.Tenant, key, route string) error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if id := idemID(t, key, route); f.rows[id].Pending {
		delete(f.rows, id)
	}
	return nil
}

const newKeyBody = `{"name":"ci","scopes":["mail.send"]}`

func TestIdempotencyReplays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "api_keys.create", "mail.send").with("Idempotency-Key", "one")
	first := c.want("POST", "/v3/api_keys", newKeyBody, 201, nil)
	again := c.want("POST", "/v3//api_keys/", newKeyBody, 201, nil)
	if first.Header.Get("Idempotency-Replayed") != "" || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replayed: %q, %q", first.Header, again.Header)
	}
	if again.Header.Get("Content-Type") != "application/json" {
		t.Errorf("Content-Type %q", again.Header.Get("Content-Type"))
	}
	var a, b map[string]any
	if err := errors.Join(json.Unmarshal([]byte(first.Body), &a), json.Unmarshal([]byte(again.Body), &b)); err != nil {
		t.Fatal(err)
	}
	if a["api_key"] == nil || b["api_key"] != nil || a["api_key_id"] != b["api_key_id"] {
		t.Errorf("first %s, again %s: want the same but for the secret", first.Body, again.Body)
	}
	if len(w.changes) != 1 {
		t.Errorf("%d changes: %q", len(w.changes), w.changes)
	}
	for _, row := range answersOf(w).rows {
		if strings.Contains(string(row.Body), a["api_key"].(string)) {
			t.Error("the secret is stored")
		}
	}
}

// AP-13: other body, other path, other tenant, keys that cannot be.
func TestIdempotencyKeyMisused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	scopes := []string{"api_keys.create", "api_keys.update", "mail.send"}
	c := w.as(w.acme, scopes...).with("Idempotency-Key", "one")
	c.want("POST", "/v3/api_keys", newKeyBody, 201, nil)
	c.refused("POST", "/v3/api_keys", `{"name":"other","scopes":["mail.send"]}`, 422, "another request", "")
	c.refused("POST", "/v3/api_keys?x=1", newKeyBody, 422, "another request", "")

	k1, _ := w.addKey(w.acme)
	k2, _ := w.addKey(w.acme)
	c.want("POST", "/v3/api_keys/"+k1.ID.String()+"/rotate", `{}`, 200, nil)
	c.refused("POST", "/v3/api_keys/"+k2.ID.String()+"/rotate", `{}`, 422, "another request", "")

	for name, of := range map[string]relay.Tenant{"another account": w.globex, "its subuser": w.staging} {
		if a := w.as(of, scopes...).with("Idempotency-Key", "one").want("POST", "/v3/api_keys", newKeyBody, 201, nil); a.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s got the account's answer", name)
		}
	}
	for name, key := range map[string]string{"empty": "", "long": strings.Repeat("k", 256), "control": "a\tb", "not ASCII": "schlüssel", "10 KB": strings.Repeat("k", 10<<10)} {
		t.Run(name, func(t *testing.T) {
			c.with("Idempotency-Key", key).refused("POST", "/v3/api_keys", newKeyBody, 400, "Give one key", "Idempotency-Key")
		})
	}
	two := c.with("Idempotency-Key", "a")
	two.header.Add("Idempotency-Key", "b")
	two.refused("POST", "/v3/api_keys", newKeyBody, 400, "Give one key", "Idempotency-Key")
	c.with("Idempotency-Key", strings.Repeat("~", 255)).want("POST", "/v3/api_keys", newKeyBody, 201, nil)
}

// A refusal did nothing, so the same key may be used for the corrected request.
func TestIdempotencyRefusalGivesTheKeyBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "api_keys.create", "mail.send").with("Idempotency-Key", "one")
	c.refused("POST", "/v3/api_keys", `{"name":""}`, 400, "required", "name")
	c.refused("POST", "/v3/api_keys", `{"name":"x","scopes":["alerts.read"]}`, 403, "alerts.read", "scopes")
	c.want("POST", "/v3/api_keys", newKeyBody, 201, nil)
}

// Two at once: one executes, the other is told to wait.
func TestIdempotencyTwins(t *testing.T) {
	t.Parallel()
	var w *world
	var second answer
	w = newWorld(t, func(s *Services) {
		s.SealCRAM = nil
		s.Keys = twinning{s.Keys, func() {
			second = w.as(w.acme, "api_keys.create", "mail.send").with("Idempotency-Key", "one").do("POST", "/v3/api_keys", `{"name":"ci"}`)
		}}
	})
	w.as(w.acme, "api_keys.create", "mail.send").with("Idempotency-Key", "one").want("POST", "/v3/api_keys", `{"name":"ci"}`, 201, nil)
	if second.Status != 409 || second.Header.Get("Retry-After") == "" || !strings.Contains(second.Body, "still being answered") {
		t.Errorf("the twin: %d %s", second.Status, second.Body)
	}
	if len(w.changes) != 1 {
		t.Errorf("%q", w.changes)
	}
}

type inner = Keys

// twinning calls f while a key is being made, on an API of its own.
type twinning struct {
	inner
	f func()
}

func (k twinning) CreateKeyWithin(ctx context.Context, by store.By, key relay.Key, most int) error {
	done := make(chan struct{})
	go func() { defer close(done); k.f() }()
	<-done
	return k.inner.CreateKeyWithin(ctx, by, key, most)
}

func TestIdempotencyOfTheDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.as(w.acme, "api_keys.create", "mail.send").with("Idempotency-Key", "one")
	w.fail = errors.New("disk on fire")
	c.want("POST", "/v3/api_keys", newKeyBody, 500, nil)
	w.fail = nil
	for id, row := range answersOf(w).rows { // as after a crash in the middle
		row.Pending = true
		answersOf(w).rows[id] = row
	}
	if len(answersOf(w).rows) == 0 {
		c.want("POST", "/v3/api_keys", newKeyBody, 201, nil)
		t.Fatal("an internal error gave the claim back: perhaps it had been carried out")
	}
	c.refused("POST", "/v3/api_keys", newKeyBody, 409, "still being answered", "")
	w.pass(answering)
	c.refused("POST", "/v3/api_keys", newKeyBody, 409, "does not know how it ended", "")
}

// What was done is answered although its answer could not be stored.
func TestIdempotencyAnswerNotStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answersOf(w).fail = errors.New("disk on fire")
	c := w.as(w.acme, "api_keys.create", "mail.send").with("Idempotency-Key", "one")
	c.want("POST", "/v3/api_keys", newKeyBody, 201, nil)
	c.refused("POST", "/v3/api_keys", newKeyBody, 409, "still being answered", "")
	if len(w.changes) != 1 || !strings.Contains(w.log.String(), "answer not stored") {
		t.Errorf("changes %q, log %s", w.changes, w.log.String())
	}
}

// A route that commits its answer itself: stored once, taken over from the dead,
// and a faster twin's answer is everybody's.
func TestIdempotencyCommitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := &API{Services: w.services, State: NewState()}
	var commit func(*store.Idempotency) error
	route := &Route{Method: "POST", Pattern: "/send", CommitsAnswer: true, MaxBody: 100, Handler: func(_ *API, c *Call) error {
		if err := commit(c.Idempotency(202, map[string]string{"X-Message-Id": "m1"}, nil)); err != nil {
			return err
		}
		c.W.Header().Set("X-Message-Id", "m1")
		return c.Empty(202)
	}}
	serve := func(key string) answer { return serveRoute(t, a, route, w.as(w.acme).with("Idempotency-Key", key)) }

	commit = func(i *store.Idempotency) error { return answersOf(w).FinishIdempotency(t.Context(), *i) }
	for i, replayed := range []string{"", "true"} {
		if got := serve("one"); got.Status != 202 || got.Header.Get("X-Message-Id") != "m1" || got.Header.Get("Idempotency-Replayed") != replayed {
			t.Errorf("%d: %+v", i, got)
		}
	}

	commit = func(*store.Idempotency) error { return errors.New("crash") }
	if got := serve("two"); got.Status != 500 {
		t.Errorf("%+v", got)
	}
	commit = func(i *store.Idempotency) error { return answersOf(w).FinishIdempotency(t.Context(), *i) }
	answersOf(w).rows[idemID(w.acme, "three", "POST /send")] = store.Idempotency{Request: requestOf(answersOf(w), "one"), Pending: true, CreatedAt: t0}
	if got := serve("three"); got.Status != 409 {
		t.Errorf("a live twin: %+v", got)
	}
	w.pass(answering)
	if got := serve("three"); got.Status != 202 || got.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("a dead one's claim: %+v", got)
	}

	commit = func(i *store.Idempotency) error { // somebody else commits first
		twin := *i
		twin.Header = map[string]string{"X-Message-Id": "m2"}
		if err := answersOf(w).FinishIdempotency(t.Context(), twin); err != nil {
			return err
		}
		return answersOf(w).FinishIdempotency(t.Context(), *i)
	}
	if got := serve("four"); got.Status != 202 || got.Header.Get("X-Message-Id") != "m2" || got.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a faster twin: %+v", got)
	}
}

func requestOf(f *fakeAnswers, key string) [32]byte {
	for id, row := range f.rows {
		if strings.Contains(id, key) {
			return row.Request
		}
	}
	return [32]byte{}
}
