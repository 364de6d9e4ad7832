package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern/internal/api"
	"postern/internal/relay"
)

func (c *cli) keyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Keys that mail is handed in with"}
	cmd.AddCommand(c.keyAdd(),
		listCommand(c, "keys", "/keys", func(f *pflag.FlagSet) {
			byAccount(f)
			f.String("subuser", "", "only this subuser's")
			f.Bool("all", false, "revoked ones too")
		}, func(t *table, k relay.Key) {
			t.row(k.Name, k.ID, k.Scopes, keyState(k), k.ExpiresAt, k.LastUsedAt, k.LastUsedFrom)
		}, "NAME", "ID", "SCOPES", "STATE", "EXPIRES", "LAST USED", "FROM"),
		showCommand(c, "key", "/keys", c.showKey),
		verbCommand(c, "revoke", "End one key for ever", "/keys", c.showKey),
	)
	cmd.AddCommand(switchCommands(c, "key", "/keys", c.showKey)...)
	group(cmd)
	return cmd
}

func (c *cli) keyAdd() *cobra.Command {
	var in api.NewKey
	var expires time.Duration
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a key; it is shown once", Args: cobra.ExactArgs(1),
		Example: "  postern key add web --subuser shop --network 192.0.2.0/24 --sender shop.example --expires-in 8760h",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if expires != 0 {
				in.ExpiresAt = time.Now().Add(expires).UTC().Format(time.RFC3339)
			}
			return create(cmd, c, "/keys", in, func(k api.CreatedKey) error {
				fmt.Fprintf(c.out, "%s\n\nThis is the only time that the key is shown. User name: apikey\n\n", k.APIKey)
				return c.showKey(k.Key)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Account, "account", "", "its account, if there are several")
	f.StringVar(&in.Subuser, "subuser", "", "its subuser; none: the account itself")
	f.StringSliceVar(&in.Scopes, "scope", nil, "what it may do (mail.send)")
	f.StringVar(&in.Mode, "mode", "", "live, test (never delivered) or hold (waits for release)")
	f.StringSliceVar(&in.Networks, "network", nil, "networks that it works from; none: anywhere")
	f.StringSliceVar(&in.Senders, "sender", nil, "addresses and domains that it may send as; none: all of the account's")
	f.StringSliceVar(&in.RecipientDomains, "recipient-domain", nil, "domains that it may send to; none: all")
	f.BoolVar(&in.Canary, "canary", false, "never valid; a try with it is recorded")
	f.DurationVar(&expires, "expires-in", 0, "how long it lives, such as 720h; 0: for ever")
	return cmd
}

func keyState(k relay.Key) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked"
	case !k.DisabledAt.IsZero():
		return "disabled"
	case !k.ExpiresAt.IsZero() && time.Now().After(k.ExpiresAt):
		return "expired"
	case k.Canary:
		return "canary"
	}
	return string(k.Mode)
}

func (c *cli) showKey(k relay.Key) error {
	var networks []string
	for _, n := range k.Networks {
		networks = append(networks, n.String())
	}
	return pairs(c.out, "name", k.Name, "id", k.ID, "account", k.Account, "subuser", k.Subuser, "state", keyState(k), "scopes", k.Scopes,
		"networks", networks, "senders", k.Senders, "recipient domains", k.RecipientDomains,
		"canary", k.Canary,
		"created", k.CreatedAt, "expires", k.ExpiresAt, "disabled", k.DisabledAt, "revoked", k.RevokedAt,
		"last used", k.LastUsedAt, "last used from", k.LastUsedFrom, "by", k.LastUsedMechanism, "as", k.LastUsedHelo, "uses", k.UseCount)
}
