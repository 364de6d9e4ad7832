package v3

import (
	"encoding/json"
	"net/http"
	"time"

	"postern/internal/relay"
	"postern/internal/watch"
)

const typeNDJSON = "application/x-ndjson"

// progressEvery is how often a replay says how far it is.
const progressEvery = time.Second

type replayRequest struct {
	// Since: earlier history teaches and is not reported.
	Since string                               `json:"since,omitempty"`
	Until string                               `json:"until,omitempty"`
	Rules map[relay.WatchRule]watchRuleRequest `json:"rules,omitempty"`
	// Only are the rules that run; none: all.
	Only []relay.WatchRule `json:"only,omitempty"`
}

// replayLine is one line of the answer: one of its members.
type replayLine struct {
	Progress *watch.Progress     `json:"progress,omitempty"`
	Finding  *relay.WatchFinding `json:"finding,omitempty"`
	Done     *watch.Progress     `json:"done,omitempty"`
	Error    string              `json:"error,omitempty"`
}

func (a *API) replayWatch(c *Call) error {
	if a.Replays == nil {
		return relay.E(relay.Unavailable, "Replays cannot be made here.")
	}
	cfg, err := a.replayConfig(c)
	if err != nil {
		return err
	}
	out := &replayWriter{c: c}
	cfg.Finding = func(f relay.WatchFinding) error { return out.line(replayLine{Finding: &f}) }
	cfg.Progress = out.progress
	done, err := a.Replays.Replay(c.R.Context(), cfg)
	if err != nil {
		if !out.begun {
			return err
		}
		if c.R.Context().Err() == nil {
			_ = out.line(replayLine{Error: "The replay ended before its time."})
		}
		return err
	}
	return out.line(replayLine{Done: &done})
}

// replayConfig is what a request asks for, with the account's settings.
func (a *API) replayConfig(c *Call) (watch.ReplayConfig, error) {
	var in replayRequest
	cfg := watch.ReplayConfig{Account: c.Tenant.Account}
	if body, err := c.Body(); err != nil {
		return cfg, err
	} else if len(body) > 0 {
		if err := c.Decode(&in); err != nil {
			return cfg, err
		}
	}
	var err error
	if cfg.Since, err = parseMoment("since", in.Since); err != nil {
		return cfg, err
	}
	if cfg.Until, err = parseMoment("until", in.Until); err != nil {
		return cfg, err
	}
	if cfg.Until.IsZero() || cfg.Until.After(c.Now) {
		cfg.Until = c.Now
	}
	set := relay.WatchSettings{}
	if a.Watch != nil {
		if set, err = a.Watch.WatchSettings(c.R.Context(), c.Tenant.Account); err != nil {
			return cfg, err
		}
	}
	if set, err = withRules(set, in.Rules); err != nil {
		return cfg, err
	}
	for _, r := range in.Only {
		if err := watch.CheckSetting(r, relay.WatchRuleSetting{}); err != nil {
			return cfg, err
		}
	}
	cfg.Engine.Only = in.Only
	cfg.Engine.Settings = func(relay.AccountID) relay.WatchSettings { return set }
	if !c.Tenant.Account.IsZero() {
		tenant, wide := c.Tenant, watchWide(c)
		cfg.Tenant = func(t relay.Tenant) bool { return t == tenant || wide && t.Account == tenant.Account }
	}
	return cfg, nil
}

// replayWriter writes lines as they come.
type replayWriter struct {
	c     *Call
	begun bool
	told  time.Time
}

func (w *replayWriter) line(l replayLine) error {
	if !w.begun {
		w.begun = true
		w.c.W.Header().Set("Content-Type", typeNDJSON)
		w.c.W.WriteHeader(http.StatusOK)
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	out := http.NewResponseController(w.c.W)
	// Not every writer has a deadline, or can flush; the server's own holds then.
	_ = out.SetWriteDeadline(time.Now().Add(pageTime))
	if _, err := w.c.W.Write(append(text, '\n')); err != nil {
		return err
	}
	_ = out.Flush()
	return nil
}

func (w *replayWriter) progress(p watch.Progress) {
	if time.Since(w.told) < progressEvery {
		return
	}
	w.told = time.Now()
	_ = w.line(replayLine{Progress: &p}) // a reader that is gone ends the request
}
