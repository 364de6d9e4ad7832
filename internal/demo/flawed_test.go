package demo

import (
	"context"
	"testing"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// older is the store of a demo from before the report looked at the watch.
type older struct {
	account  relay.Account
	settings relay.WatchSettings
	findings []relay.WatchFinding
	flawedStore
}

func (o *older) Accounts(context.Context) ([]relay.Account, error) {
	return []relay.Account{o.account}, nil
}

func (o *older) WatchSettings(context.Context, relay.AccountID) (relay.WatchSettings, error) {
	return o.settings, nil
}

func (o *older) SwapWatchSettings(_ context.Context, _ store.By, _ relay.AccountID, _, v relay.WatchSettings) error {
	o.settings = v
	return nil
}

func (o *older) PutWatch(_ context.Context, c store.WatchCommit) error {
	o.findings = append(o.findings, c.Findings...)
	return nil
}

func (o *older) SetWatchAnswered(context.Context, relay.WatchFinding, time.Time, string) error {
	return nil
}

// A directory that an older demo made gets the flaws that it lacks, once.
func TestFlawsOfAnOlderDemo(t *testing.T) {
	t.Parallel()
	o := &older{account: relay.Account{ID: relay.AccountID{ID: relay.NewID(time.Now())}, Name: flawedAccount}}
	for range 2 {
		if err := plantFlaws(t.Context(), o, nil, nil, time.Now()); err != nil {
			t.Fatal(err)
		}
		if len(o.findings) != 2 || o.findings[0].Account != o.account.ID || !o.settings.NoMail || !o.settings.Rules[relay.WatchHours].Off {
			t.Errorf("%d findings, settings %+v", len(o.findings), o.settings)
		}
	}
}
