package app_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/config"
	"postern/internal/relay"
)

// What the watch finds leaves by the exports, once, and the watch makes no finding of
// that again.
func TestFindingLeavesByExports(t *testing.T) {
	t.Parallel()
	x := prepare(t)
	archive := filepath.Join(t.TempDir(), "history.json")
	x.conf.Exports = []config.Export{{Name: "siem", Kind: "file", To: archive, Streams: []string{"events"}, All: true}}
	x.run()
	var decoy struct {
		Secret string `json:"api_key"`
		ID     string `json:"api_key_id"`
	}
	if err := json.Unmarshal([]byte(x.ask("POST", "/v3/api_keys", map[string]any{"name": "decoy", "scopes": []string{"mail.send"}, "canary": true})), &decoy); err != nil {
		t.Fatal(err)
	}
	x.eventually("the decoy is refused", func() bool { // under load a login is put off, with 454
		code, _ := x.secure().try("AUTH PLAIN " + plain("apikey", decoy.Secret))
		return code == 535
	})
	type exported struct {
		Name, Text string
		Record     struct {
			relay.Event
			Data relay.EventData `json:"data"`
		}
	}
	found := func() (all []exported) {
		text, err := os.ReadFile(archive)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var e exported
			if strings.HasSuffix(line, "\n") && strings.Contains(line, "alert.watch") {
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatal(err)
				}
				all = append(all, e)
			}
		}
		return all
	}
	x.eventually("the finding leaves", func() bool { return len(found()) > 0 })
	var page struct {
		Result []relay.WatchFinding `json:"result"`
	}
	if err := json.Unmarshal([]byte(x.ask("GET", "/v3/watch/findings", nil)), &page); err != nil {
		t.Fatal(err)
	}
	got := found()
	if len(got) != 1 || len(page.Result) != 1 {
		t.Fatalf("%d left, %d are kept", len(got), len(page.Result))
	}
	f, a := page.Result[0], got[0].Record.Data.Alert
	if a == nil || a.Rule != relay.WatchCanary || a.Severity != relay.WatchCritical || a.Finding != f.ID || got[0].Text != f.Title || got[0].Record.Key != f.Key {
		t.Errorf("left %+v with %+v, kept %+v", got[0], a, f)
	}
}
