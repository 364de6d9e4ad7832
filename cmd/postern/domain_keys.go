package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/secret"
)

// domainKey is what the API says of a DKIM key.
type domainKey struct {
	Selector    string    `json:"selector"`
	Name        string    `json:"name"`
	Algorithm   string    `json:"algorithm"`
	Bits        int       `json:"bits"`
	State       string    `json:"state"`
	Record      string    `json:"record"`
	CreatedAt   time.Time `json:"created_at"`
	SeenAt      time.Time `json:"seen_at"`
	ActivatedAt time.Time `json:"activated_at"`
	RetiredAt   time.Time `json:"retired_at"`
}

func (c *cli) keyTable(keys []domainKey) error {
	t := newTable(c.out, "SELECTOR", "ALGORITHM", "BITS", "STATE", "MADE", "SEEN", "SIGNS SINCE", "RETIRED")
	for _, k := range keys {
		t.row(k.Selector, k.Algorithm, k.Bits, k.State, k.CreatedAt, k.SeenAt, k.ActivatedAt, k.RetiredAt)
	}
	return t.end()
}

func (c *cli) domainKeys() *cobra.Command {
	return c.domainDo("keys NAME|ID", "List the DKIM keys of one domain", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, d domainView, _ []string) error {
			v, text, err := call[results[domainKey]](ctx, cl, http.MethodGet, d.path("/keys"), nil, nil)
			if err != nil {
				return err
			}
			return answer(c, v, text, func(v results[domainKey]) error { return c.keyTable(v.Result) })
		})
}

func (c *cli) domainImport() *cobra.Command {
	cmd := c.domainDo("import-key NAME|ID SELECTOR FILE", "Bring a DKIM key along, in PEM; FILE may be - for the input", cobra.ExactArgs(3),
		func(ctx context.Context, cl *client, d domainView, args []string) error {
			pem, err := c.readKey(args[1])
			if err != nil {
				return err
			}
			in := patch{"selector": args[0], "private_key": string(pem)}
			k, text, err := call[domainKey](ctx, cl, http.MethodPost, d.path("/keys"), nil, in)
			if err != nil {
				return err
			}
			return answer(c, k, text, func(k domainKey) error {
				return pairs(c.out, "selector", k.Selector, "algorithm", k.Algorithm, "bits", k.Bits, "state", k.State, "name", k.Name, "type", "TXT", "value", k.Record)
			})
		})
	cmd.Example = "  postern domain import-key acme.example mail2024 mail2024.pem"
	return cmd
}

// maxKeyFile is more than any key.
const maxKeyFile = 64 << 10

func (c *cli) readKey(path string) ([]byte, error) {
	in := c.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the key: %w", err)
		}
		defer f.Close()
		in = f
	}
	pem, err := io.ReadAll(io.LimitReader(in, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	if len(pem) > maxKeyFile {
		return nil, fmt.Errorf("%s is no key: it is longer than %d octets", path, maxKeyFile)
	}
	return pem, nil
}

func (c *cli) domainExport() *cobra.Command {
	var file string
	cmd := c.domainDo("export-key NAME|ID SELECTOR", "Give out a DKIM private key, in clear; it is recorded who did", cobra.ExactArgs(2),
		func(ctx context.Context, cl *client, d domainView, args []string) error {
			if err := cl.onHost(); err != nil {
				return err
			}
			type export struct {
				Private string `json:"private_key"`
			}
			v, text, err := call[export](ctx, cl, http.MethodPost, d.path("/keys"+segment(args[0])+"/export"), nil, nil)
			if err != nil {
				return err
			}
			if file != "" {
				if err := secret.WriteFileAtomic(file, []byte(v.Private), 0o600); err != nil {
					return fmt.Errorf("write the key: %w", err)
				}
				_, err := fmt.Fprintf(c.out, "The private key of %s is in %s.\n", clean(args[0]), file)
				return err
			}
			return answer(c, v, text, func(v export) error {
				_, err := io.WriteString(c.out, v.Private)
				return err
			})
		})
	cmd.Flags().StringVar(&file, "file", "", "write it to this file, which only its owner can read")
	return cmd
}

func (c *cli) domainSelector() *cobra.Command {
	cmd := c.domainDo("selector NAME|ID SELECTOR enable|disable", "Let a DKIM selector sign, or stop it; on the host only", cobra.ExactArgs(3),
		func(ctx context.Context, cl *client, d domainView, args []string) error {
			if err := cl.onHost(); err != nil {
				return err
			}
			d, text, err := call[domainView](ctx, cl, http.MethodPost, d.path("/keys"+segment(args[0])+"/"+args[1]), nil, nil)
			if err != nil {
				return err
			}
			return answer(c, d, text, c.describeDomain)
		})
	inner := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[2] != "enable" && args[2] != "disable" {
			return usageError(fmt.Sprintf("%q: want enable or disable", args[2]))
		}
		return inner(cmd, args)
	}
	return cmd
}

// rotationView is what the API says of a change of keys.
type rotationView struct {
	Text     string      `json:"text"`
	Publish  bool        `json:"publish"`
	Switched bool        `json:"switched"`
	New      []domainKey `json:"keys"`
	Keys     []domainKey `json:"dkim"`
}

func (c *cli) domainRotate() *cobra.Command {
	var now, cancel bool
	cmd := c.domainDo("rotate NAME|ID", "Change the DKIM keys of one domain, without a message that fails", cobra.ExactArgs(1),
		func(ctx context.Context, cl *client, d domainView, _ []string) error {
			if cancel {
				return c.cancelRotation(ctx, cl, d)
			}
			v, text, err := call[rotationView](ctx, cl, http.MethodPost, d.path("/rotate"), nil, patch{"now": now})
			if err != nil {
				return err
			}
			return answer(c, v, text, c.showRotation)
		})
	cmd.Long = "rotate makes the next keys and waits until every name server answers with their records; then they sign, and the\n" +
		"old ones stay published until the mail that they signed has arrived. Where the records are not aliases into the\n" +
		"relay's zone, publish what it prints. --now is for keys that were stolen: it waits for nothing.\n" +
		"--cancel gives a change of keys up before the new ones sign."
	cmd.Flags().BoolVar(&now, "now", false, "the keys were stolen: revoke them at once; mail that they signed may fail to verify")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "give the change of keys up that is under way")
	cmd.MarkFlagsMutuallyExclusive("now", "cancel")
	return cmd
}

func (c *cli) cancelRotation(ctx context.Context, cl *client, d domainView) error {
	if _, err := cl.do(ctx, http.MethodDelete, d.path("/rotate"), nil, nil); err != nil {
		return err
	}
	v, text, err := call[results[domainKey]](ctx, cl, http.MethodGet, d.path("/keys"), nil, nil)
	if err != nil {
		return err
	}
	return answer(c, v, text, func(v results[domainKey]) error {
		if err := c.keyTable(v.Result); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.out, "\nThe keys of %s stay as they are.\n", clean(d.Name))
		return err
	})
}

func (c *cli) showRotation(v rotationView) error {
	if err := c.keyTable(v.Keys); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "\n%s\n", clean(v.Text))
	if !v.Publish {
		return nil
	}
	fmt.Fprintln(c.out, "\nPublish in DNS:")
	t := newTable(c.out, "TYPE", "NAME", "VALUE")
	for _, k := range v.New {
		t.row("TXT", k.Name, k.Record)
	}
	return t.end()
}
