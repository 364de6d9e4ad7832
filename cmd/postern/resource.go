package main

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// must is for flags that are marked by a name that stands three lines above.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// answer prints what came back: JSON, or by show.
func answer[T any](c *cli, v T, text json.RawMessage, show func(T) error) error {
	if c.json {
		return c.printJSON(text)
	}
	return show(v)
}

// create posts a new thing and prints what became of it.
func create[T any](cmd *cobra.Command, c *cli, path string, in any, show func(T) error) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	v, text, err := post[T](cmd.Context(), cl, path, in)
	if err != nil {
		return err
	}
	return answer(c, v, text, show)
}

// replace puts a new state and prints what became of it.
func replace[T any](cmd *cobra.Command, c *cli, path string, in any, show func(T) error) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	v, text, err := call[T](cmd.Context(), cl, http.MethodPut, path, nil, in)
	if err != nil {
		return err
	}
	return answer(c, v, text, show)
}

// listCommand is "list" of a kind of thing. filters are flags that become query
// parameters of the same name.
func listCommand[T any](c *cli, what, path string, filters func(*pflag.FlagSet), row func(*table, T), heads ...string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List " + what, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, text, err := get[results[T]](cmd.Context(), cl, path, flagQuery(cmd))
			if err != nil {
				return err
			}
			return answer(c, all, text, func(results[T]) error {
				t := newTable(c.out, heads...)
				for _, v := range all.Result {
					row(t, v)
				}
				return t.end()
			})
		},
	}
	if filters != nil {
		filters(cmd.Flags())
	}
	return cmd
}

// flagQuery turns the command's own flags that were given into a query.
func flagQuery(cmd *cobra.Command) url.Values {
	q := url.Values{}
	own := cmd.LocalNonPersistentFlags()
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if own.Lookup(f.Name) == nil {
			return // a global one
		}
		if s, ok := f.Value.(pflag.SliceValue); ok {
			q[f.Name] = s.GetSlice()
			return
		}
		q.Set(f.Name, f.Value.String())
	})
	return q
}

// showCommand is "show NAME".
func showCommand[T any](c *cli, what, path string, show func(T) error) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME|ID", Short: "Show one " + what, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			v, text, err := get[T](cmd.Context(), cl, path+segment(args[0]), nil)
			if err != nil {
				return err
			}
			return answer(c, v, text, show)
		},
	}
}

// switchCommands are "disable NAME" and "enable NAME".
func switchCommands[T any](c *cli, what, path string, show func(T) error) []*cobra.Command {
	return []*cobra.Command{
		verbCommand(c, "disable", "Switch one "+what+" off", path, show),
		verbCommand(c, "enable", "Switch one "+what+" on again", path, show),
	}
}

// verbCommand is "VERB NAME".
func verbCommand[T any](c *cli, verb, short, path string, show func(T) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME|ID", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return create(cmd, c, path+segment(args[0])+"/"+verb, struct{}{}, show)
		},
	}
}
