package api

import (
	"net/http"
	"strconv"
	"time"

	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/store"
)

// Retry is a request to give an account or a pool its own delivery schedule.
// Spans are written as Go does ("90m", "96h"). What is empty falls back to the
// next one up: pool, then account, then the configuration.
type Retry struct {
	Intervals   []string `json:"intervals"`
	Lifetime    string   `json:"lifetime"`
	DelayNotice string   `json:"delay_notice"`
}

// The bounds of a schedule. RFC 5321 §4.5.4.1 asks for waits of half an hour at
// least once the first ones failed, and for four to five days; shorter ones are
// an operator's choice, absurd ones are typing errors.
const (
	minWait      = 10 * time.Second
	maxLifetime  = 30 * 24 * time.Hour
	maxIntervals = 64
)

func (in *Retry) parse() (relay.Retry, error) {
	var r relay.Retry
	if len(in.Intervals) > maxIntervals {
		return r, invalid("intervals", "More than %d waits.", maxIntervals)
	}
	for i, s := range in.Intervals {
		d, err := span("intervals."+strconv.Itoa(i), s, minWait, maxLifetime)
		if err != nil {
			return r, err
		}
		r.Intervals = append(r.Intervals, d)
	}
	var err error
	if in.Lifetime != "" {
		if r.Lifetime, err = span("lifetime", in.Lifetime, time.Minute, maxLifetime); err != nil {
			return r, err
		}
	}
	if in.DelayNotice != "" {
		r.DelayNotice, err = span("delay_notice", in.DelayNotice, time.Minute, maxLifetime)
	}
	return r, err
}

func span(field, s string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, invalid(field, "%q is not a span of time; write it as 90s, 15m or 96h.", s)
	}
	if d < least || d > most {
		return 0, invalid(field, "%s is out of bounds: from %s to %s.", d, least, most)
	}
	return d, nil
}

func (a *admin) setAccountRetry(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	var in Retry
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	retry, err := in.parse()
	if err != nil {
		return err
	}
	err = store.Again(func() error {
		was, err := a.account(r.Context(), "account", r.PathValue("account"))
		if err != nil {
			return err
		}
		next := was
		next.Retry = retry
		return a.Accounts.SwapAccount(r.Context(), who, was, next)
	})
	if err != nil {
		return err
	}
	return a.showAccount(w, r)
}

func (a *admin) setPoolRetry(w http.ResponseWriter, r *http.Request) error {
	who, err := by(r)
	if err != nil {
		return err
	}
	var in Retry
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	retry, err := in.parse()
	if err != nil {
		return err
	}
	if err := a.editPool(r, who, func(p *relay.Pool) { p.Retry = retry }); err != nil {
		return err
	}
	return a.showPool(w, r)
}
