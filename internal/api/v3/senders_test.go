package v3

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/internal/dns"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/store"
)

// fakeSingles keeps single senders as the store does, and the letters to them.
type fakeSingles struct {
	w       *world
	rows    []relay.SingleSender
	letters []string
	domains map[string]relay.Tenant // authenticated
}

func init() {
	setups = append(setups, func(w *world, s *Services) {
		f := &fakeSingles{w: w, domains: map[string]relay.Tenant{}}
		w.extra["singles"], s.SenderRows = f, f
		s.Singles = &sender.Singles{
			Store: f, Directory: f, URL: "https://relay.test", Now: w.clock,
			Resolver: &dns.Static{TXTs: map[string][]string{"_dmarc.strict.test": {"v=DMARC1; p=reject"}}},
			Letter: func(_ context.Context, to, subject, text string) error {
				f.letters = append(f.letters, text)
				return nil
			},
		}
		s.ProvenDomains = func(t relay.Tenant) bool {
			for _, of := range f.domains {
				if of == t {
					return true
				}
			}
			return false
		}
	})
	one := func(path string) fixture {
		return fixture{Status: 204, Make: func(w *world, of relay.Tenant) ask {
			return ask{Path: fmt.Sprintf(path, singlesOf(w).add(of, "ann@else.test").Number)}
		}, Absent: ask{Path: fmt.Sprintf(path, 999)}}
	}
	change := one("/v3/verified_senders/%d")
	change.Status = 200
	withBody := change.Make
	change.Make = func(w *world, of relay.Tenant) ask {
		a := withBody(w, of)
		a.Body = `{"nickname":"other"}`
		return a
	}
	change.Absent.Body = `{"nickname":"other"}`
	addFixtures(map[string]fixture{
		"GET /v3/verified_senders":                 plain(200, "/v3/verified_senders", ""),
		"POST /v3/verified_senders":                plain(201, "/v3/verified_senders", newSenderBody),
		"GET /v3/verified_senders/domains":         plain(200, "/v3/verified_senders/domains", ""),
		"GET /v3/verified_senders/steps_completed": plain(200, "/v3/verified_senders/steps_completed", ""),
		"POST /v3/verified_senders/resend/{id}":    one("/v3/verified_senders/resend/%d"),
		"PATCH /v3/verified_senders/{id}":          change,
		"DELETE /v3/verified_senders/{id}":         one("/v3/verified_senders/%d"),
		"GET /v3/verified_senders/verify/{token}": {Status: 204, Make: func(w *world, of relay.Tenant) ask {
			f := singlesOf(w)
			s := f.add(of, "ann@else.test")
			if err := w.services.Singles.Resend(context.Background(), store.By{Who: "test"}, s.Number); err != nil {
				w.t.Fatal(err)
			}
			return ask{Path: "/v3/verified_senders/verify/" + f.token(w.t)}
		}, Absent: ask{Path: "/v3/verified_senders/verify/" + strings.Repeat("A", 43)}},
	})
}

const newSenderBody = `{"nickname":"Orders","from_email":"ann@else.test","from_name":"Ann","reply_to":"r@else.test","address":"1 Way","city":"X","state":"CO","zip":"1","country":"US"}`

func singlesOf(w *world) *fakeSingles { return w.extra["singles"].(*fakeSingles) }

func (f *fakeSingles) add(of relay.Tenant, address string) relay.SingleSender {
	s, _ := f.CreateSender(context.Background(), store.By{}, relay.SingleSender{
		Tenant: of, Nickname: "n", FromEmail: address, Address: address, ReplyTo: address, CreatedAt: t0,
	})
	return s
}

var senderLink = regexp.MustCompile(`/senders/verify/(\S+)`)

func (f *fakeSingles) token(t testing.TB) string {
	t.Helper()
	m := senderLink.FindStringSubmatch(f.letters[len(f.letters)-1])
	if m == nil {
		t.Fatalf("no link in %q", f.letters)
	}
	return m[1]
}

func (f *fakeSingles) CreateSender(_ context.Context, _ store.By, s relay.SingleSender) (relay.SingleSender, error) {
	s.Number = int64(len(f.rows) + 1)
	f.rows = append(f.rows, s)
	return s, f.w.fail
}

func (f *fakeSingles) SwapSender(_ context.Context, _ store.By, was, s relay.SingleSender) error {
	if !reflect.DeepEqual(f.rows[s.Number-1], was) {
		return meanwhile()
	}
	f.rows[s.Number-1] = s
	return f.w.fail
}

func (f *fakeSingles) DeleteSender(_ context.Context, _ store.By, n int64, at time.Time) error {
	f.rows[n-1].DeletedAt = at
	return f.w.fail
}

func (f *fakeSingles) Sender(_ context.Context, n int64) (relay.SingleSender, error) {
	if n < 1 || n > int64(len(f.rows)) {
		return relay.SingleSender{}, relay.E(relay.NotFound, "There is no such sender.")
	}
	return f.rows[n-1], f.w.fail
}

func (f *fakeSingles) Senders(_ context.Context, t relay.Tenant) (out []relay.SingleSender, _ error) {
	for _, r := range f.rows {
		if r.Tenant == t && r.DeletedAt.IsZero() {
			out = append(out, r)
		}
	}
	return out, f.w.fail
}

func (f *fakeSingles) SenderBySecret(_ context.Context, sum []byte) (relay.SingleSender, error) {
	for _, r := range f.rows {
		if len(r.Secret) > 0 && bytes.Equal(r.Secret, sum) {
			return r, f.w.fail
		}
	}
	return relay.SingleSender{}, relay.E(relay.NotFound, "There is no such sender.")
}

func (f *fakeSingles) VerifySender(ctx context.Context, _ store.By, sum []byte, at time.Time) (relay.SingleSender, error) {
	r, err := f.SenderBySecret(ctx, sum)
	if err != nil {
		return r, err
	}
	r.VerifiedAt, r.Secret = at, nil
	f.rows[r.Number-1] = r
	return r, nil
}

func (f *fakeSingles) Covering(t relay.Tenant, name string) (relay.Domain, relay.Coverage) {
	of, ok := f.domains[name]
	switch {
	case !ok:
		return relay.Domain{}, relay.CoverNone
	case of.Account != t.Account:
		return relay.Domain{}, relay.CoverOther
	}
	return relay.Domain{Name: name, Account: of.Account}, relay.CoverUsable
}

func (f *fakeSingles) Account(id relay.AccountID) (relay.Account, bool) { return f.w.Account(id) }

func TestSendersLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, c := singlesOf(w), w.as(w.acme, "whitelabel.create", "whitelabel.read", "whitelabel.update", "whitelabel.delete")
	var made senderView
	if a := c.do("POST", "/v3/verified_senders", newSenderBody); a.Status != 201 || json.Unmarshal([]byte(a.Body), &made) != nil || made.Verified || made.ID != 1 || made.Address != "1 Way" {
		t.Fatalf("created: %+v", a)
	}
	if a := c.do("POST", "/v3/verified_senders", newSenderBody); a.Status != 400 || !strings.Contains(a.Body, "from_email") {
		t.Errorf("twice: %+v", a)
	}
	if a := c.do("GET", "/v3/verified_senders/steps_completed", ""); a.Body != `{"results":{"sender_verified":false,"domain_verified":false}}`+"\n" {
		t.Errorf("steps: %s", a.Body)
	}
	if a := c.do("GET", "/v3/verified_senders/verify/"+f.token(t), ""); a.Status != 204 {
		t.Errorf("verify: %+v", a)
	}
	var list senderList
	if a := c.do("GET", "/v3/verified_senders?limit=1", ""); json.Unmarshal([]byte(a.Body), &list) != nil || len(list.Results) != 1 || !list.Results[0].Verified {
		t.Errorf("list: %+v", a)
	}
	if a := c.do("GET", "/v3/verified_senders?lastSeenID=1", ""); a.Body != `{"results":[]}`+"\n" {
		t.Errorf("after the last: %s", a.Body)
	}
	if a := c.do("PATCH", "/v3/verified_senders/1", `{"nickname":"Other"}`); a.Status != 200 || !strings.Contains(a.Body, `"nickname":"Other"`) || !strings.Contains(a.Body, `"verified":true`) {
		t.Errorf("patch: %+v", a)
	}
	if a := c.do("POST", "/v3/verified_senders/resend/1", ""); a.Status != 400 {
		t.Errorf("resend to a verified one: %+v", a)
	}
	if a := c.do("PATCH", "/v3/verified_senders/1", `{"from_email":"x@strict.test"}`); a.Status != 200 || !strings.Contains(a.Body, `"verified":false`) || !strings.Contains(a.Body, "reject") {
		t.Errorf("another address: %+v", a)
	}
	if a := c.do("GET", "/v3/verified_senders/domains", ""); a.Body != `{"results":{"soft_failures":[],"hard_failures":["strict.test"]}}`+"\n" {
		t.Errorf("risks: %s", a.Body)
	}
	if a := c.do("DELETE", "/v3/verified_senders/1", ""); a.Status != 204 {
		t.Errorf("delete: %+v", a)
	}
	if a := c.do("DELETE", "/v3/verified_senders/1", ""); a.Status != 404 {
		t.Errorf("delete again: %+v", a)
	}
}
