package v3

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// idsOf is a body that names messages.
func idsOf(tb testing.TB, ids ...relay.MessageID) string {
	tb.Helper()
	text, err := json.Marshal(mailManyBody{IDs: textsOf(ids...)})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func textsOf(ids ...relay.MessageID) (texts []string) {
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return texts
}

// leftOf are those that were left alone, by why.
func leftOf(d *mailManyDone) map[leftCode]int64 {
	left := map[leftCode]int64{}
	for _, l := range d.Left {
		left[l.Code] = l.Messages
	}
	return left
}

func wantLeft(tb testing.TB, what string, d *mailManyDone, messages int64, left map[leftCode]int64) {
	tb.Helper()
	got := leftOf(d)
	same := d.Messages == messages && len(got) == len(left)
	for code, n := range left {
		same = same && got[code] == n
	}
	if !same {
		tb.Errorf("%s: %d messages, left %v; want %d, %v", what, d.Messages, got, messages, left)
	}
}

// heldMail makes messages of a tenant that somebody holds.
func heldMail(w *world, of relay.Tenant, n int, by *client) (ids []relay.MessageID) {
	f := consoleOf(w)
	for range n {
		id := f.addMail(of, "ann@dest.test")
		if by == nil {
			f.setState(id, relay.MessageHeld)
		} else {
			by.want("POST", "/v3/messages/"+id.String()+"/hold", "", 200, nil)
		}
		ids = append(ids, id)
	}
	return ids
}

// Each message of a batch is judged as its own route does: one that may not be
// released does not keep the others, and is told with the same words.
func TestReleaseManyJudgesEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	boss := w.person(w.addUser(w.acme, relay.RoleOwner), true)
	own := w.as(w.staging, scopeMailAct)
	all := slices.Concat(heldMail(w, w.staging, 2, w.operator("acme")), heldMail(w, w.staging, 3, boss), heldMail(w, w.staging, 4, own), heldMail(w, w.staging, 5, nil))
	quarantined := heldMail(w, w.staging, 1, nil)
	f.setState(quarantined[0], relay.MessageQuarantined)
	going := f.addMail(w.staging, "ann@dest.test")
	gone := f.addMail(w.staging, "ann@dest.test")
	f.happen(gone, relay.EventDelivered, 0, relay.EventData{})
	foreign := heldMail(w, w.acme, 1, nil)
	all = slices.Concat(all, quarantined, []relay.MessageID{going, gone}, foreign, all[:1])
	body := `{"ids":["x","` + strings.Join(append(textsOf(all...), absentID), `","`) + `"]}`

	var did mailManyDone
	a := own.want("POST", "/v3/messages/release", body, 200, &did)
	wantLeft(t, "by the subuser", &did, 9, map[leftCode]int64{leftOperator: 2, leftAccount: 3, leftQuarantined: 1, leftGoing: 1, leftGone: 1, leftAbsent: 3})
	for _, l := range did.Left {
		if l.Why != leftTexts[l.Code] || l.Why == "" {
			t.Errorf("%+v", l)
		}
	}
	for i, id := range all[:14] {
		if got, want := f.queued[id].Message.State, relay.MessageHeld; i < 5 && got != want || i >= 5 && got == want {
			t.Errorf("message %d is %s", i, got)
		}
	}
	if f.queued[foreign[0]].Message.State != relay.MessageHeld || f.queued[quarantined[0]].Message.State != relay.MessageQuarantined || strings.Contains(a.Body, foreign[0].String()) {
		t.Errorf("%s", a.Body)
	}
	// What each is told by itself.
	for id, why := range map[relay.MessageID]leftCode{all[0]: leftOperator, all[2]: leftAccount, quarantined[0]: leftQuarantined} {
		own.refused("POST", "/v3/messages/"+id.String()+"/release", "", 403, leftTexts[why], "")
	}
	did = mailManyDone{}
	boss.want("POST", "/v3/messages/release", body, 200, &did)
	wantLeft(t, "by the account", &did, 4, map[leftCode]int64{leftOperator: 2, leftQuarantined: 1, leftGoing: 10, leftGone: 1, leftAbsent: 2})
	did = mailManyDone{}
	w.operator("acme").want("POST", "/v3/messages/release", body, 200, &did)
	wantLeft(t, "by the operator", &did, 3, map[leftCode]int64{leftGoing: 14, leftGone: 1, leftAbsent: 2})
}

// What counts is who held a message last, by the time of it: the log of another node
// may tell of an older hold behind a newer one.
func TestHolderIsByTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	id := heldMail(w, w.staging, 1, nil)[0]
	m := f.queued[id].Message
	operator := f.event(&m, relay.EventHeld, -1, "", relay.EventData{By: "uid 0 on node1", ByRank: "operator"})
	own := f.event(&m, relay.EventHeld, -1, "", relay.EventData{By: "key x", ByRank: "own"})
	operator.At, own.At = t0.Add(time.Hour), t0
	f.events[id] = append(f.events[id], operator, own)
	c := w.as(w.staging, scopeMailAct)
	c.refused("POST", "/v3/messages/"+id.String()+"/release", "", 403, leftTexts[leftOperator], "")
	var did mailManyDone
	c.want("POST", "/v3/messages/release", idsOf(t, id), 200, &did)
	wantLeft(t, "release", &did, 0, map[leftCode]int64{leftOperator: 1})
}

// Somebody above holds anew what those below hold, or what is held as it came in: from
// then on they do not release it. Nobody does so to what their own hold, or those above.
func TestHoldOverAHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, account, operator := w.as(w.staging, scopeMailAct, scopeMail), w.as(w.acme, scopeMailAct, scopeMail, scopeBehalf), w.operator("acme")
	for i, step := range []struct {
		first, second *client
		changed       bool
		own           leftCode // why the subuser does not release it then
	}{
		{nil, own, false, ""}, {nil, account, true, leftAccount}, {nil, operator, true, leftOperator},
		{own, own, false, ""}, {own, account, true, leftAccount}, {own, operator, true, leftOperator},
		{account, own, false, leftAccount}, {account, account, false, leftAccount}, {account, operator, true, leftOperator},
		{operator, own, false, leftOperator}, {operator, account, false, leftOperator}, {operator, operator, false, leftOperator},
	} {
		for _, many := range []bool{false, true} {
			id := heldMail(w, w.staging, 1, step.first)[0]
			var v journeyView
			if step.second.want("GET", "/v3/messages/"+id.String(), "", 200, &v); v.Anew != step.changed {
				t.Errorf("%d: that it may be held anew is told: %v", i, v.Anew)
			}
			if many {
				want := map[leftCode]int64{leftHeld: 1}
				var did mailManyDone
				if a := step.second.want("POST", "/v3/messages/hold", idsOf(t, id), 200, &did); step.changed {
					want = nil
				} else if !strings.Contains(a.Body, "It is held already.") {
					t.Errorf("%d: %s", i, a.Body)
				}
				wantLeft(t, "hold", &did, int64(1-len(want)), want)
			} else {
				var did mailActed
				if step.second.want("POST", "/v3/messages/"+id.String()+"/hold", "", 200, &did); did.Changed != step.changed {
					t.Errorf("%d: %+v", i, did)
				}
			}
			if step.own != "" {
				own.refused("POST", "/v3/messages/"+id.String()+"/release", "", 403, leftTexts[step.own], "")
			} else {
				own.want("POST", "/v3/messages/"+id.String()+"/release", "", 200, nil)
			}
		}
	}
	w.pass(time.Minute)
	var did mailManyDone // by a search, too; what is quarantined is the operator's in any case
	consoleOf(w).setState(heldMail(w, w.staging, 1, nil)[0], relay.MessageQuarantined)
	w.pass(time.Minute)
	account.with("on-behalf-of", "staging").want("POST", "/v3/messages/hold", `{"dry_run":true,"filter":{"state":"held"}}`, 200, &did)
	if left := leftOf(&did); did.Messages != 0 || left[leftHeld] == 0 {
		t.Errorf("%+v", did)
	}
}

// What a colleague stops after the count is neither released nor cancelled with what
// was counted, though it had come in before.
func TestManyOfWhatIsHeldMeanwhile(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"release", "cancel", "hold"} {
		w := newWorld(t)
		f := consoleOf(w)
		c := w.as(w.acme, scopeMailAct, scopeMail)
		above := c
		if verb == "hold" {
			c = w.operator("acme")
		}
		heldMail(w, w.acme, 3, nil)
		late := f.addMail(w.acme, "ann@dest.test")
		w.pass(time.Minute)
		var count, did mailManyDone
		path := "/v3/messages/" + verb
		c.want("POST", path, `{"filter":{"state":"held"},"dry_run":true}`, 200, &count)
		wantLeft(t, "count", &count, 3, nil)
		w.pass(time.Minute)
		above.want("POST", "/v3/messages/"+late.String()+"/hold", "", 200, nil)
		c.want("POST", path, `{"filter":{"state":"held"},"counted_at":"`+count.CountedAt.Format(time.RFC3339Nano)+`"}`, 200, &did)
		wantLeft(t, verb, &did, 3, map[leftCode]int64{leftMeanwhile: 1})
		if f.queued[late].Message.State != relay.MessageHeld {
			t.Errorf("%s: what was held meanwhile is %s", verb, f.queued[late].Message.State)
		}
		did = mailManyDone{} // by its id it is meant
		c.want("POST", path, idsOf(t, late), 200, &did)
		wantLeft(t, verb+" by id", &did, 1, nil)
	}
}

// Until when it was accepted is one thing, and when it was counted another: what was
// accepted yesterday and held this morning was held before the count of now.
func TestManyUntilIsNotTheCount(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"release", "cancel"} {
		w := newWorld(t)
		f := consoleOf(w)
		c := w.as(w.acme, scopeMailAct, scopeMail)
		id := f.addMail(w.acme, "ann@dest.test")
		until := w.now.Add(time.Minute).UTC().Format(time.RFC3339Nano)
		w.pass(time.Hour)
		c.want("POST", "/v3/messages/"+id.String()+"/hold", "", 200, nil)
		late := heldMail(w, w.acme, 1, nil)[0] // accepted after until
		f.mu.Lock()
		qd := f.queued[late]
		qd.Message.AcceptedAt = w.now
		f.queued[late] = qd
		f.mu.Unlock()
		w.pass(time.Hour)
		var count, did mailManyDone
		filter := `"filter":{"state":"held","until":"` + until + `"}`
		c.want("POST", "/v3/messages/"+verb, `{"dry_run":true,`+filter+`}`, 200, &count)
		wantLeft(t, "count", &count, 1, nil)
		w.pass(time.Minute)
		c.want("POST", "/v3/messages/"+verb, `{`+filter+`,"counted_at":"`+count.CountedAt.Format(time.RFC3339Nano)+`"}`, 200, &did)
		wantLeft(t, verb, &did, 1, nil)
		if q, ok := f.queued[late]; !ok || q.Message.State != relay.MessageHeld {
			t.Errorf("%s took what the search is not about", verb)
		}
	}
}

// A search about one recipient finds messages to many: what is done is done to all of
// them, and the count tells how many they are.
func TestManyCountsRecipients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	for _, to := range [][]string{{"bob@x.test"}, {"ann@x.test", "bob@x.test", "eve@y.test"}, {"eve@y.test"}} {
		f.setState(f.addMail(w.acme, to...), relay.MessageHeld)
	}
	w.pass(time.Minute)
	c := w.as(w.acme, scopeMailAct, scopeMail)
	var count, did mailManyDone
	c.want("POST", "/v3/messages/cancel", `{"filter":{"state":"held","to":"bob@x.test"},"dry_run":true}`, 200, &count)
	wantLeft(t, "count", &count, 2, nil)
	if count.Recipients != 4 {
		t.Errorf("%+v", count)
	}
	c.want("POST", "/v3/messages/cancel", `{"filter":{"state":"held","to":"bob@x.test"},"counted_at":"`+count.CountedAt.Format(time.RFC3339Nano)+`"}`, 200, &did)
	wantLeft(t, "cancel", &did, 2, nil)
	if did.Recipients != 0 || len(f.queued) != 1 {
		t.Errorf("%+v, %d are left", did, len(f.queued))
	}
}

// A key whose mail is held releases nothing, one by one or at once.
func TestReleaseManyByAHeldKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := heldMail(w, w.acme, 2, nil)
	c := w.as(w.acme, scopeMailAct)
	w.keys[len(w.keys)-1].Mode = relay.KeyHold
	var did mailManyDone
	c.want("POST", "/v3/messages/release", idsOf(t, ids...), 200, &did)
	wantLeft(t, "release", &did, 0, map[leftCode]int64{leftKey: 2})
	if len(w.changes) > 0 {
		t.Errorf("%q", w.changes)
	}
}

// AP-01: other tenants' mail is answered as what is not there is, by ids, and is not
// found by a search.
func TestManyOfOthers(t *testing.T) {
	t.Parallel()
	for _, act := range []string{"hold", "release", "retry", "cancel"} {
		w := newWorld(t)
		f := consoleOf(w)
		var ids []relay.MessageID
		for _, of := range []relay.Tenant{w.globex, w.acme, w.receipts, w.branch} {
			ids = append(ids, heldMail(w, of, 1, nil)...)
			ids = append(ids, f.addMail(of, "ann@dest.test"))
		}
		w.pass(time.Minute)
		var theirs, absent, found mailManyDone
		c := w.as(w.staging, scopeMailAct, scopeMail, scopeBehalf)
		c.want("POST", "/v3/messages/"+act, idsOf(t, ids...), 200, &theirs)
		c.want("POST", "/v3/messages/"+act, `{"ids":["`+strings.Repeat(absentID+`x","`, len(ids)-1)+absentID+`"]}`, 200, &absent)
		wantLeft(t, act, &theirs, 0, leftOf(&absent))
		state := "processed"
		if act == "release" {
			state = "held"
		}
		c.want("POST", "/v3/messages/"+act, `{"filter":{"state":"`+state+`"},"dry_run":true}`, 200, &found)
		wantLeft(t, act, &found, 0, nil)
		if len(found.Keys)+len(found.From) > 0 || len(w.changes) > 0 {
			t.Errorf("%s: %+v %q", act, found, w.changes)
		}
		// The account finds its subusers' with the scope that acting for them takes.
		w.as(w.acme, scopeMailAct, scopeMail).want("POST", "/v3/messages/"+act, `{"filter":{"state":"`+state+`"},"dry_run":true}`, 200, &found)
		wantLeft(t, act+" by the account", &found, 1, nil)
		found = mailManyDone{}
		w.as(w.acme, scopeMailAct, scopeMail, scopeBehalf).want("POST", "/v3/messages/"+act, `{"filter":{"state":"`+state+`"},"dry_run":true}`, 200, &found)
		wantLeft(t, act+" by the account for all", &found, 2, nil)
		if len(found.Keys) != 2 || found.Keys[0].Subuser+found.Keys[1].Subuser != "receipts" || found.Keys[0].Name != "key" {
			t.Errorf("%+v", found.Keys)
		}
	}
}

// A search is counted first, and acted on as it was counted: what comes in
// meanwhile is left alone.
func TestReleaseManyCountsFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	ids := heldMail(w, w.acme, 3, nil)
	f.addMail(w.acme, "ann@dest.test") // goes
	w.pass(time.Minute)
	c := w.as(w.acme, scopeMailAct, scopeMail)
	const path = "/v3/messages/release"
	c.refused("POST", path, `{"filter":{"state":"held"}}`, 400, "Count first", "counted_at")
	var count, did mailManyDone
	c.want("POST", path, `{"filter":{"state":"held"},"dry_run":true}`, 200, &count)
	wantLeft(t, "count", &count, 3, nil)
	if !count.DryRun || count.More || count.CountedAt.IsZero() || len(count.Keys) != 3 || count.Keys[0].Messages != 1 || !slices.Equal(count.From, []manyFrom{{"ops@acme.test", 3}}) {
		t.Errorf("%+v", count)
	}
	if len(w.changes) > 0 || len(f.acted) > 0 {
		t.Fatalf("counting did %q", w.changes)
	}
	w.pass(time.Minute)
	late := heldMail(w, w.acme, 1, nil)[0]
	f.mu.Lock()
	qd := f.queued[late]
	qd.Message.AcceptedAt = w.now
	f.queued[late] = qd
	f.mu.Unlock()
	w.pass(time.Minute)
	body := `{"filter":{"state":"held"},"counted_at":"` + count.CountedAt.Format(time.RFC3339Nano) + `"}`
	c.want("POST", path, body, 200, &did)
	wantLeft(t, "release", &did, 3, nil)
	if did.DryRun || len(did.Keys)+len(did.From) > 0 || f.queued[late].Message.State != relay.MessageHeld {
		t.Errorf("%+v, what came late is %s", did, f.queued[late].Message.State)
	}
	if recorded := bansOf(w).recorded; len(recorded) != 1 || recorded[0].Account != w.acme.Account || recorded[0].Action != "queue.release" || recorded[0].Subject != "3 messages" ||
		string(recorded[0].After) != `{"verb":"release","messages":["`+strings.Join(textsOf(ids...), `","`)+`"]}` {
		t.Errorf("recorded %+v", recorded)
	}
	// A moment to come is none that was counted.
	c.want("POST", path, `{"filter":{"state":"held"},"counted_at":"2027-01-01T00:00:00Z","dry_run":true}`, 200, &count)
	if !count.CountedAt.Equal(w.now) {
		t.Errorf("counted at %v, it is %v", count.CountedAt, w.now)
	}
}

// The criteria are the search's own.
func TestReleaseManySearches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	k, _ := w.addKey(w.acme)
	c := w.as(w.acme, scopeMailAct, scopeMail)
	const path = "/v3/messages/cancel"
	c.want("POST", path, `{"dry_run":true,"after":"7~x","filter":{"to":"a@x.test","from":"b@y.test","id":"AAAC","key":"`+k.ID.String()+
		`","domain":"DEST.test","to_domain":"TO.test","state":"deferred","subject":"hello","match":"prefix","until":"2026-03-01T00:00:00Z"}}`, 200, nil)
	q, until := f.queries[len(f.queries)-1], t0.Add(-9*time.Hour)
	if q.Tenant != w.acme || q.Subusers || q.Recipient != "a@x.test" || q.Sender != "b@y.test" || q.ID != "AAAC" || q.Key != k.ID || q.Domain != "dest.test" || q.ToDomain != "to.test" || q.State != "deferred" ||
		q.Subject != "hello" || !q.Prefix || !q.Until.Equal(until) || !q.Since.Equal(until.Add(-subjectSpan)) || q.Limit != mostMany || q.After != "7" {
		t.Errorf("asked for %+v", q)
	}
	w.as(w.acme, scopeMailAct).refused("POST", path, `{"dry_run":true,"filter":{"state":"held"}}`, 403, textNoScope, "")
	for body, field := range map[string]string{
		`{}`: "ids", `{"ids":[]}`: "ids", `{"ids":["x"],"filter":{"state":"held"}}`: "filter", `{"ids":["x"],"after":"1"}`: "after", `{"ids":["x"],"reason":"a\nb"}`: "reason",
		`{"counted_at":"yesterday","filter":{"state":"held"}}`: "counted_at", `{"dry_run":true,"filter":{}}`: "filter.state", `{"dry_run":true,"filter":{"state":"delivered"}}`: "filter.state",
		`{"dry_run":true,"filter":{"state":"held","since":"yesterday"}}`: "filter.since", `{"dry_run":true,"filter":{"state":"held","key":"none"}}`: "filter.key",
		`{"dry_run":true,"filter":{"state":"held","match":"like"}}`: "filter.match", `{"dry_run":true,"filter":{"state":"held","to":"` + strings.Repeat("x", 321) + `"}}`: "filter.to",
		`{"dry_run":true,"filter":{"state":"held"},"after":"` + strings.Repeat("1", 321) + `"}`: "after",
		`{"ids":["x"` + strings.Repeat(`,"x"`, mostMany) + `]}`:                                 "ids",
	} {
		var e struct{ Errors []struct{ Field *string } }
		c.want("POST", path, body, 400, &e)
		if e.Errors[0].Field == nil || *e.Errors[0].Field != field {
			t.Errorf("%.80s: %+v", body, e)
		}
	}
	for verb, state := range map[string]string{"release": "deferred", "hold": "delivered", "retry": "held"} {
		c.refused("POST", "/v3/messages/"+verb, `{"dry_run":true,"filter":{"state":"`+state+`"}}`, 400, "Say which mail to "+verb, "filter.state")
	}
}

// A call takes so many lines of a search, and says where to go on; each message is
// dealt with once, whatever its lines.
func TestReleaseManyIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	heldMail(w, w.acme, mostMany-1, nil)
	split := f.addMail(w.acme, "ann@dest.test", "bob@dest.test", "eve@dest.test") // its lines stand on both sides of the bound
	f.setState(split, relay.MessageHeld)
	heldMail(w, w.acme, 30, nil)
	w.pass(time.Minute)
	c := w.as(w.acme, scopeMailAct, scopeMail)
	const filter = `"filter":{"state":"held"},"counted_at":"2026-03-01T09:00:01Z"`
	for _, dry := range []string{"true", "false"} {
		var first, rest mailManyDone
		c.want("POST", "/v3/messages/release", `{"dry_run":`+dry+`,`+filter+`}`, 200, &first)
		wantLeft(t, "first, dry "+dry, &first, mostMany, nil)
		if !first.More || first.Next == "" {
			t.Fatalf("%+v", first)
		}
		c.want("POST", "/v3/messages/release", `{"dry_run":`+dry+`,`+filter+`,"after":"`+first.Next+`"}`, 200, &rest)
		wantLeft(t, "rest, dry "+dry, &rest, 30, nil)
		if rest.More || rest.Next != "" {
			t.Errorf("%+v", rest)
		}
	}
	if n := slices.Max(f.acted); n > manyStep {
		t.Errorf("%d at once", n)
	}
	for _, id := range f.order {
		if s := f.queued[id].Message.State; s != relay.MessageQueued {
			t.Fatalf("%s is %s", id, s)
		}
	}
	if n := strings.Count(strings.Join(w.changes, "\n"), "queue.release "); n != 6 {
		t.Errorf("%d records of 530 messages", n)
	}
}

// What leaves the queue while others are judged keeps none of them.
func TestManyThatLeaveMeanwhile(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"hold", "release", "retry", "cancel"} {
		w := newWorld(t)
		f := consoleOf(w)
		var ids []relay.MessageID
		for range 4 {
			id := f.addMail(w.acme, "ann@dest.test")
			if verb == "release" {
				f.setState(id, relay.MessageHeld)
			}
			ids = append(ids, id)
		}
		f.leaves = func() { delete(f.queued, ids[1]) }
		var did mailManyDone
		w.as(w.acme, scopeMailAct).want("POST", "/v3/messages/"+verb, idsOf(t, ids...), 200, &did)
		wantLeft(t, verb, &did, 3, map[leftCode]int64{leftMeanwhile: 1})
		// The others at once: each call makes a record in the installation's chain.
		if verb != "cancel" && !slices.Equal(f.acted, []int{4, 3}) {
			t.Errorf("%s: calls with %v messages", verb, f.acted)
		}
	}
}

// The record of an account tells what was done, for which subuser, and to which mail.
func TestManyAreRecordedWithTheSubuser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := heldMail(w, w.staging, 1, nil)[0]
	for _, c := range []*client{w.as(w.acme, scopeMailAct, scopeBehalf).with("on-behalf-of", "staging"), w.as(w.staging, scopeMailAct)} {
		c.want("POST", "/v3/messages/hold", idsOf(t, consoleOf(w).addMail(w.staging, "ann@dest.test")), 200, nil)
	}
	w.as(w.acme, scopeMailAct, scopeBehalf).want("POST", "/v3/messages/release", idsOf(t, id), 200, nil)
	want := []string{`{"verb":"hold","subuser":"staging","messages":["`, `{"verb":"hold","subuser":"staging","messages":["`, `{"verb":"release","messages":["`}
	recorded := bansOf(w).recorded
	for i := range recorded {
		if recorded[i].Account != w.acme.Account || i >= len(want) || !strings.HasPrefix(string(recorded[i].After), want[i]) {
			t.Errorf("recorded %+v: %s", recorded[i], recorded[i].After)
		}
	}
	if len(recorded) != len(want) {
		t.Errorf("%d records", len(recorded))
	}
}

// What is held is not retried and not held again; all that is queued can be
// cancelled, quarantined mail too, as one by one.
func TestManyByState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := consoleOf(w)
	held := heldMail(w, w.acme, 2, w.operator("acme"))
	f.setState(held[1], relay.MessageQuarantined)
	ids := append(held, f.addMail(w.acme, "ann@dest.test"), f.addMail(w.acme, "bob@dest.test"))
	c := w.as(w.acme, scopeMailAct)
	for _, tt := range []struct {
		verb     string
		messages int64
		left     map[leftCode]int64
	}{
		{"retry", 2, map[leftCode]int64{leftHeld: 2}}, {"hold", 2, map[leftCode]int64{leftHeld: 2}},
		{"retry", 0, map[leftCode]int64{leftHeld: 4}}, {"cancel", 4, nil}, {"cancel", 0, map[leftCode]int64{leftGone: 4}},
	} {
		var did mailManyDone
		c.want("POST", "/v3/messages/"+tt.verb, idsOf(t, ids...), 200, &did)
		wantLeft(t, tt.verb, &did, tt.messages, tt.left)
	}
	if got := strings.Join(w.changes, "\n"); !strings.Contains(got, "queue.cancel 4 messages") {
		t.Errorf("%s", got)
	}
}

// Nothing is done without a record.
func TestManyAreRecordedFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *Services) {
		s.RecordChange = func(context.Context, store.By, relay.Change) error { return errors.New("disk full") }
	})
	f := consoleOf(w)
	ids := heldMail(w, w.acme, 2, nil)
	c := w.as(w.acme, scopeMailAct)
	for _, verb := range []string{"release", "cancel"} {
		if a := c.do("POST", "/v3/messages/"+verb, idsOf(t, ids...)); a.Status != 500 || len(f.acted) > 0 {
			t.Errorf("%s without a record: %+v", verb, a)
		}
	}
}
