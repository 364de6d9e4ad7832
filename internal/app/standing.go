package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"postern/internal/api"
	"postern/internal/event"
	"postern/internal/relay"
)

const (
	// standingState is where it is kept who was told to stand, and the lease of the
	// node that tells.
	standingState = "standing"
	// standingGrace is how long a process has run before it tells that something
	// stands: what stood because postern itself did goes on by then.
	standingGrace = time.Hour
	// standingLease bounds how long a node that ended keeps others from telling.
	standingLease = time.Minute
)

// tellStanding tells the operator of what reads the logs and has taken nothing for a
// day, once, and once more when it goes on.
func (a *App) tellStanding(ctx context.Context, now time.Time) error {
	if now.Sub(a.started) < standingGrace {
		return nil
	}
	held, err := a.store.LeaseConsumer(ctx, standingState, standingLease)
	if err != nil || !held {
		return err
	}
	defer func() { _ = a.store.FreeConsumer(context.WithoutCancel(ctx), standingState) }() // it ends by its time
	told := map[string]time.Time{}
	if kept, err := a.store.State(ctx, standingState); err != nil {
		return err
	} else if kept != nil {
		if err := json.Unmarshal(kept, &told); err != nil {
			return fmt.Errorf("read state %s: %w", standingState, err)
		}
	}
	all, err := a.consumers(ctx, now)
	if err != nil {
		return err
	}
	next, news := standingNews(told, all, now)
	if maps.EqualFunc(told, next, time.Time.Equal) {
		return nil
	}
	kept, err := json.Marshal(next)
	if err != nil {
		return err
	}
	// Noted first: a second letter every hour is worse than none when this fails.
	if err := a.store.PutState(ctx, standingState, kept); err != nil {
		return err
	}
	for _, n := range news {
		a.alert(relay.Tenant{}, relay.KeyID{}, relay.Alert{Kind: relay.AlertBehind, Text: n.subject + ". \"postern status\" on the server says how far it is."})
		if to := a.cfg.Load().Contact; to != "" {
			if err := a.letter(ctx, to, n.subject, n.text); err != nil {
				a.log.Warn("app: that a reader of the logs stands or goes on could not be mailed; the alert stands", "error", err)
			}
		}
	}
	return nil
}

// standingLetter is what the operator is told.
type standingLetter struct{ subject, text string }

// standingNews compares what was told with how it is: whom to remember as told, with
// the time at which it was, and what to tell now. A consumer goes on when none of its
// streams stands any more; one that has left the configuration is forgotten.
func standingNews(told map[string]time.Time, all []api.Consumer, now time.Time) (next map[string]time.Time, news []standingLetter) {
	streams := map[string][]api.Consumer{}
	for _, c := range all {
		if c.Configured {
			streams[c.Name] = append(streams[c.Name], c)
		}
	}
	next = map[string]time.Time{}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		standing := slices.DeleteFunc(streams[name], func(c api.Consumer) bool { return !c.Stands })
		at, before := told[name]
		switch {
		case len(standing) == 0 && before:
			news = append(news, goesOnLetter(name, at))
		case len(standing) > 0 && before:
			next[name] = at
		case len(standing) > 0:
			next[name] = now.UTC()
			news = append(news, standsLetter(name, standing))
		}
	}
	return next, news
}

func standsLetter(name string, standing []api.Consumer) standingLetter {
	var b strings.Builder
	fmt.Fprintf(&b, "%s has taken nothing for a day.\n\n", readerTitle(name))
	for i := range standing {
		c := &standing[i]
		fmt.Fprintf(&b, "%s: %d records wait, the oldest since %s.", c.Stream, c.Records, c.Oldest.UTC().Format(time.RFC1123))
		if c.Error != "" {
			fmt.Fprintf(&b, " The last error: %q", c.Error)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n\"postern status\" on the server says how far it is, and the log of the node that runs it what is wrong. ")
	b.WriteString("Events are kept for store.keep_events and login records for store.keep_logins: what is older by then is lost to it. You are told when it goes on.")
	return standingLetter{readerTitle(name) + " has taken nothing for a day", b.String()}
}

func goesOnLetter(name string, told time.Time) standingLetter {
	title := readerTitle(name) + " goes on"
	return standingLetter{title, fmt.Sprintf("%s. That it stood was told on %s. \"postern status\" on the server says how far it is.", title, told.UTC().Format(time.RFC1123))}
}

// readerTitle is a consumer at the beginning of a sentence.
func readerTitle(name string) string {
	titles := map[string]string{
		event.NameIndex: "The search index of mail", event.NameCounts: "The count of logins", event.NameWatch: "The watch",
	}
	return cmp.Or(titles[name], "The "+name)
}
