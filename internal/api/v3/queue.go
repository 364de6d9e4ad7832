package v3

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"postern/internal/queue"
	"postern/internal/relay"
	"postern/internal/store"
)

// queueRoutes show what waits, by lane: where from and where to.
var queueRoutes = []Route{
	{
		Method: http.MethodGet, Pattern: "/v3/queue", Scope: scopeMail,
		Summary: "Show what waits, by pool and destination, the fullest first; counts are up to 5 seconds old. An account's caller with " + scopeBehalf + " sees its subusers', too",
		Answers: map[int]any{200: queueView{}}, Handler: (*API).showQueue,
	},
	{
		Method: http.MethodGet, Pattern: "/v3/queue/{site}", Scope: scopeMail, Summary: "Show what waits for one destination domain",
		Answers: map[int]any{200: siteView{}}, Handler: (*API).showSite,
	},
}

type queueView struct {
	Lanes       []laneView `json:"lanes"`
	More        bool       `json:"more" doc:"there are more lanes than the 1000 that are listed"`
	Held        int64      `json:"held" doc:"messages"`
	Quarantined int64      `json:"quarantined" doc:"messages"`
	Waiting     int64      `json:"waiting" doc:"recipients"`
	Due         int64      `json:"due"`
	Leased      int64      `json:"leased" doc:"recipients that are being worked on"`
	OldestAt    time.Time  `json:"oldest_at,omitzero"`
}

// laneView is one lane. What it says of the destination is how the relay treats it
// now; what the destination said to others is not told.
type laneView struct {
	Pool     string    `json:"pool"`
	Site     string    `json:"site"`
	Waiting  int64     `json:"waiting"`
	Due      int64     `json:"due"`
	Leased   int64     `json:"leased"`
	OldestAt time.Time `json:"oldest_at,omitzero"`
	NextAt   time.Time `json:"next_at,omitzero"`
	Limit    int       `json:"limit,omitempty" doc:"connections at once that the destination is given"`
	Until    time.Time `json:"backing_off_until,omitzero"`
	Why      string    `json:"why" doc:"why it waits, in words; empty: it is on its way"`
}

type siteView struct {
	Site  string     `json:"site"`
	Lanes []laneView `json:"lanes"`
}

func (a *API) showQueue(c *Call) error {
	v, err := a.queueOf(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, v)
}

func (a *API) showSite(c *Call) error {
	site := strings.ToLower(c.R.PathValue("site"))
	v, err := a.queueOf(c)
	if err != nil {
		return err
	}
	out := siteView{Site: site}
	for _, l := range v.Lanes {
		if l.Site == site {
			out.Lanes = append(out.Lanes, l)
		}
	}
	if out.Lanes == nil {
		return notFound()
	}
	return c.JSON(http.StatusOK, out)
}

// queueOf is the queue of the tenant.
func (a *API) queueOf(c *Call) (queueView, error) {
	q, err := a.queues.get(c.R.Context(), a.Messages, c.Tenant, c.wide(), c.Now)
	if err != nil {
		return queueView{}, err
	}
	v := queueView{Lanes: []laneView{}, More: q.More, Held: q.Held, Quarantined: q.Quarantined, Waiting: q.Waiting, Due: q.Due, Leased: q.Leased, OldestAt: q.OldestAt}
	status := map[relay.Lane]queue.LaneStatus{}
	for _, s := range a.Queue.Lanes() {
		status[s.Lane] = s
	}
	pools, err := a.knownPools(c)
	if err != nil {
		return v, err
	}
	names := map[relay.PoolID]string{}
	for _, p := range pools {
		names[p.ID] = p.Name
	}
	for i := range q.Lanes {
		l := &q.Lanes[i]
		s := status[l.Lane]
		v.Lanes = append(v.Lanes, laneView{
			Pool: names[l.Pool], Site: l.Site, Waiting: l.Waiting, Due: l.Due, Leased: l.Leased, OldestAt: l.OldestAt, NextAt: l.NextAt,
			Limit: s.Limit, Until: s.Until, Why: laneWhy(l, &s, c.Now),
		})
	}
	return v, nil
}

// laneWhy says why a lane's mail waits.
func laneWhy(l *store.TenantLane, s *queue.LaneStatus, now time.Time) string {
	var why []string
	if !s.Until.IsZero() && s.Until.After(now) {
		why = append(why, "The destination is given a rest until "+s.Until.UTC().Format(time.RFC3339)+": "+restReason(s.Reason)+".")
	}
	if s.NoRoute != "" {
		why = append(why, "The last look-up of the destination failed.")
	}
	switch {
	case l.Waiting == 0:
	case l.Due > 0 && len(why) == 0:
		why = append(why, "It waits for its turn.")
	case l.Due == 0 && !l.NextAt.IsZero():
		why = append(why, "The next attempt is due at "+l.NextAt.UTC().Format(time.RFC3339)+".")
	}
	return strings.Join(why, " ")
}

// queueCounts keeps counted queues for a while: counting reads the whole queue.
// One counts, the others of the same tenant wait for it.
type queueCounts struct {
	mu   sync.Mutex
	kept map[queueKey]*queueCount // guarded by mu
}

type queueKey struct {
	tenant relay.Tenant
	wide   bool
}

type queueCount struct {
	mu   sync.Mutex
	at   time.Time
	last store.TenantQueue
}

const (
	queueAge  = 5 * time.Second
	maxQueues = 256 // tenants whose counts are kept
)

func (k *queueCounts) get(ctx context.Context, s MessageStore, t relay.Tenant, wide bool, now time.Time) (store.TenantQueue, error) {
	key := queueKey{t, wide}
	k.mu.Lock()
	e := k.kept[key]
	if e == nil {
		if k.kept == nil || len(k.kept) >= maxQueues {
			k.kept = map[queueKey]*queueCount{}
		}
		e = &queueCount{}
		k.kept[key] = e
	}
	k.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if age := now.Sub(e.at); !e.at.IsZero() && age >= 0 && age < queueAge {
		return e.last, nil
	}
	q, err := s.TenantQueue(ctx, t, wide)
	if err == nil {
		e.last, e.at = q, now
	}
	return q, err
}
