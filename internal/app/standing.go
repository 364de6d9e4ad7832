package app

import (
	"bytes"
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
	// standingLeased is the name under which the node that tells has its lease, and
	// standingTold that of the state where it is kept who was told to stand.
	standingLeased = "standing"
	standingTold   = "told to stand"
	// standingGrace is how long a process has run before it tells that something
	// stands: what stood because postern itself did goes on by then.
	standingGrace = time.Hour
	// standingLease bounds how long a node that ended keeps others from telling.
	standingLease = time.Minute
	// standingForgotten is for how long no node runs what was told to stand before that
	// is forgotten: a node may be away for a while, and have it alone.
	standingForgotten = 30 * 24 * time.Hour
)

// tellStanding tells the operator of what reads the logs and has taken nothing for a
// day, once, and once more when it goes on.
func (a *App) tellStanding(ctx context.Context, now time.Time) error {
	if now.Sub(a.started) < standingGrace {
		return nil
	}
	held, err := a.store.LeaseConsumer(ctx, standingLeased, standingLease)
	if err != nil || !held {
		return err
	}
	defer func() { _ = a.store.FreeConsumer(context.WithoutCancel(ctx), standingLeased) }() // it ends by its time
	was, err := a.store.State(ctx, standingTold)
	if err != nil {
		return err
	}
	told := map[string]toldToStand{}
	if was != nil {
		if err := json.Unmarshal(was, &told); err != nil {
			return fmt.Errorf("read state %q: %w", standingTold, err)
		}
	}
	all, err := a.consumers(ctx, now)
	if err != nil {
		return err
	}
	next, news := standingNews(told, all, now)
	kept, err := json.Marshal(next)
	if err != nil || bytes.Equal(kept, was) {
		return err
	}
	// Noted first: a second letter every hour is worse than none when this fails.
	if err := a.store.PutState(ctx, standingTold, kept); err != nil {
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

// toldToStand is a consumer of which it was told that it stands.
type toldToStand struct {
	At   time.Time `json:"at"`   // when that was
	Seen time.Time `json:"seen"` // when a node last ran one of Streams, to a day
	// Streams are those that stood, with when each had taken something for the last time.
	Streams map[string]time.Time `json:"streams"`
}

// standingNews compares what was told with how it is: whom to remember as told, and
// what to tell now. A consumer of which nothing is kept any more is forgotten.
func standingNews(told map[string]toldToStand, all []api.Consumer, now time.Time) (next map[string]toldToStand, news []standingLetter) {
	streams := map[string][]api.Consumer{}
	for i := range all {
		streams[all[i].Name] = append(streams[all[i].Name], all[i])
	}
	next = map[string]toldToStand{}
	for _, name := range slices.Sorted(maps.Keys(streams)) {
		is, letter := told[name].judge(name, streams[name], now.UTC())
		if len(is.Streams) > 0 {
			next[name] = is
		}
		if letter != nil {
			news = append(news, *letter)
		}
	}
	return next, news
}

// judge is standingNews of one consumer. The nodes look by turns, and what one of them
// has not in its configuration another may: that is told by one that has it, and
// remembered by all. That it goes on is told once none of its streams stands and one
// that did has taken something: records that went away, pruned or by their age, were
// not taken.
func (t toldToStand) judge(name string, streams []api.Consumer, now time.Time) (toldToStand, *standingLetter) {
	var standing []api.Consumer
	var here, seen, moved bool
	for i := range streams {
		c := &streams[i]
		runs := c.Configured || c.Elsewhere
		if runs && c.Stands {
			standing = append(standing, *c)
			here = here || c.Configured
		}
		if at, stood := t.Streams[c.Stream]; stood {
			seen = seen || runs
			moved = moved || c.MovedAt.After(at)
		}
	}
	switch {
	case len(standing) > 0 && here && !seen:
		return t.with(standing, now, now), new(standsLetter(name, standing))
	case len(standing) > 0 && seen:
		return t.with(standing, t.At, now), nil
	case len(standing) == 0 && moved:
		return toldToStand{}, new(goesOnLetter(name, t.At))
	case seen:
		return t.with(nil, t.At, now), nil
	case now.Sub(t.Seen) >= standingForgotten:
		return toldToStand{}, nil
	}
	return t, nil
}

// with is t with what stands now, told at a time, and seen.
func (t toldToStand) with(standing []api.Consumer, at, now time.Time) toldToStand {
	is := toldToStand{At: at, Seen: t.Seen, Streams: maps.Clone(t.Streams)}
	if now.Sub(is.Seen) >= 24*time.Hour { // not anew each hour: it is written when it changes
		is.Seen = now
	}
	if is.Streams == nil {
		is.Streams = map[string]time.Time{}
	}
	for i := range standing {
		is.Streams[standing[i].Stream] = standing[i].MovedAt
	}
	return is
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
