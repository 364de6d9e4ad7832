package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

const warmupPath = "/v3/ips/warmup"

// warmupView is what the API says of an address that is being warmed up.
type warmupView struct {
	IP        string    `json:"ip"`
	StartDate int64     `json:"start_date"`
	Day       int       `json:"day"`
	Days      int       `json:"days"`
	PerHour   int       `json:"per_hour"`
	Held      int       `json:"held_days"`
	Until     time.Time `json:"until"`
	Pools     []string  `json:"pools"`
	Warnings  []string  `json:"warnings"`
}

// poolWarmup is "pool warmup": addresses that are new to the receivers of mail.
func (c *cli) poolWarmup() *cobra.Command {
	cmd := &cobra.Command{
		Use: "warmup", Short: "Introduce new addresses to receivers gently",
		Long: "For 41 days an address that is being warmed up sends only so much an hour to each destination: 20\n" +
			"recipients on its first day and 1.4 times as much on each day after it. Mail beyond that leaves from the\n" +
			"pool's other addresses; where there is none, it waits for the next hour. The address does not grow on\n" +
			"the day after receivers refused much of what it sent. A warm-up is the address's, in every pool that has it.",
	}
	w := &whose{}
	cmd.PersistentFlags().StringVar(&w.account, "account", "", "only what this account sends from")
	start := c.tenantCommand(w, "start ADDRESS", "Begin to warm an address up", cobra.ExactArgs(1), nil)
	since := start.Flags().String("since", "", "the day on which it began, such as 2026-11-01; none: now")
	start.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.tenantClient(cmd.Context(), w.account, "")
		if err != nil {
			return err
		}
		return c.startWarmup(cmd.Context(), cl, args[0], *since)
	}
	cmd.AddCommand(start, c.stopWarmup(w), c.listWarmups(w))
	group(cmd)
	return cmd
}

func (c *cli) startWarmup(ctx context.Context, cl *client, address, since string) error {
	in := map[string]any{"ip": address}
	if since != "" {
		day, err := time.Parse(time.DateOnly, since)
		if err != nil {
			return usageError("--since must be a day, such as 2026-11-01")
		}
		in["start_date"] = day.Unix()
	}
	list, text, err := call[[]warmupView](ctx, cl, http.MethodPost, warmupPath, nil, in)
	if err != nil {
		return noSuchAddress(err, "no pool has this address (postern pool list)")
	}
	for _, v := range list {
		c.warn(v.Warnings)
	}
	return answer(c, list, text, c.showWarmups)
}

func (c *cli) stopWarmup(w *whose) *cobra.Command {
	return c.tenantCommand(w, "stop ADDRESS", "End a warm-up: the address counts as warm", cobra.ExactArgs(1), func(ctx context.Context, cl *client, args []string) error {
		_, err := cl.do(ctx, http.MethodDelete, warmupPath+segment(args[0]), nil, nil)
		return noSuchAddress(err, "this address is not being warmed up (postern pool warmup list)")
	})
}

func (c *cli) listWarmups(w *whose) *cobra.Command {
	return c.tenantCommand(w, "list", "List the addresses that are being warmed up", cobra.NoArgs, func(ctx context.Context, cl *client, _ []string) error {
		list, text, err := call[[]warmupView](ctx, cl, http.MethodGet, warmupPath, nil, nil)
		if err != nil {
			return err
		}
		return answer(c, list, text, c.showWarmups)
	})
}

func (c *cli) showWarmups(list []warmupView) error {
	t := newTable(c.out, "ADDRESS", "POOLS", "SINCE", "DAY", "AN HOUR", "HELD", "UNTIL")
	for _, v := range list {
		t.row(v.IP, v.Pools, time.Unix(v.StartDate, 0), fmt.Sprintf("%d of %d", v.Day, v.Days), v.PerHour, v.Held, v.Until)
	}
	return t.end()
}

// noSuchAddress puts the server's "not found" into words.
func noSuchAddress(err error, text string) error {
	if statusOf(err) == http.StatusNotFound {
		return &apiError{http.StatusNotFound, text}
	}
	return err
}
