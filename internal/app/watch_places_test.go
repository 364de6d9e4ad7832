package app

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/config"
	"postern/internal/setup"
	"postern/internal/testkit/mmdb"
	"postern/internal/watch"
)

var cityFile = map[string]mmdb.City{"192.0.2.0/24": {Country: "DE", Name: "Berlin", Lat: 52.52, Lon: 13.4}}

// The files of the configuration are what the watch, the console and a replay look
// in; one that cannot be used keeps the process from starting, by its name.
func TestPlacesOfTheConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	res, err := setup.Init(t.Context(), setup.Options{Dir: filepath.Join(dir, "data"), Hostname: "relay.example.org", Owner: "o@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	cities, systems := filepath.Join(dir, "city.mmdb"), filepath.Join(dir, "asn.mmdb")
	mmdb.Put(t, cities, mmdb.Cities(t, cityFile))
	mmdb.Put(t, systems, mmdb.Systems(t, map[string]uint32{"192.0.0.0/16": 64496}))
	open := func(watched string) (*App, error) {
		t.Helper()
		if err := os.WriteFile(res.Config, []byte(fmt.Sprintf(reloadConfig, filepath.Join(dir, "data"))+watched), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(res.Config)
		if err != nil {
			t.Fatal(err)
		}
		return New(t.Context(), Options{Config: c, Version: "test", Logger: slog.New(slog.DiscardHandler)})
	}
	run := func(a *App) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.Run(ctx, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	a, err := open(fmt.Sprintf("[watch]\nplaces = %q\nnetworks = %q\n", cities, systems))
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("192.0.2.7")
	want := watch.Place{Country: "DE", City: "Berlin", Lat: 52.52, Lon: 13.4, Located: true, ASN: 64496}
	if p, ok := a.lookPlaces().Look(addr); !ok || p != want {
		t.Errorf("the watch finds %+v, %v", p, ok)
	}
	if c := a.countryOf()(addr); c != "DE" {
		t.Errorf("the console finds %q", c)
	}
	if c := a.countryOf()(netip.MustParseAddr("198.51.100.7")); c != "" {
		t.Errorf("the console finds %q for an address of no network", c)
	}
	run(a)
	if a, err = open(""); err != nil {
		t.Fatal(err)
	}
	if a.lookPlaces() != nil || a.countryOf() != nil {
		t.Error("there are places without a file")
	}
	run(a)
	mmdb.Put(t, cities, []byte("not a database"))
	if _, err := open(fmt.Sprintf("[watch]\nplaces = %q\n", cities)); err == nil || !strings.Contains(err.Error(), cities) {
		t.Errorf("a useless file: %v", err)
	}
}

// safeLog is a log that a test reads while it is written.
type safeLog struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *safeLog) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// A file that is replaced while postern runs is taken within a minute. What is
// wrong with a new one is said once, and the old one stays.
func TestFreshPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "city.mmdb")
	mmdb.Put(t, name, mmdb.Cities(t, cityFile))
	files, err := watch.OpenPlaces(name, "")
	if err != nil {
		t.Fatal(err)
	}
	change := func(minutes int, text []byte) {
		t.Helper()
		mmdb.Put(t, name, text)
		at := time.Date(2026, 1, 1, 0, minutes, 0, 0, time.UTC) // another second, however fast this runs
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	city := func() string { p, _ := files.Look(netip.MustParseAddr("192.0.2.7")); return p.City }
	bonn := mmdb.Cities(t, map[string]mmdb.City{"192.0.2.0/24": {Country: "DE", Name: "Bonn", Lat: 50.73, Lon: 7.1}})
	synctest.Test(t, func(t *testing.T) {
		var log safeLog
		a := &App{places: files, log: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.freshPlaces(ctx) }()
		after := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		after(3 * placesEvery)
		if log.count("level=") != 0 || city() != "Berlin" {
			t.Errorf("nothing changed: %s", log.text.String())
		}
		change(1, bonn)
		after(placesEvery)
		if log.count("took a new file") != 1 || city() != "Bonn" {
			t.Errorf("in %s: %s", city(), log.text.String())
		}
		change(2, bonn[:len(bonn)/2])
		after(5 * placesEvery)
		if log.count("the old one stays") != 1 || city() != "Bonn" {
			t.Errorf("in %s: %s", city(), log.text.String())
		}
		change(3, bonn)
		after(placesEvery)
		if log.count("took a new file") != 2 {
			t.Error(log.text.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
