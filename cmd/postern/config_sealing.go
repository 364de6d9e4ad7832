package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"postern/internal/secret"
)

// newSealingKey puts a new key in front of those of the key file. The old ones
// stay: what they sealed (DKIM keys, the audit key, queued bodies) is not sealed
// anew, and opens with them only.
func (c *cli) newSealingKey() *cobra.Command {
	return &cobra.Command{
		Use: "new-sealing-key", Short: "Seal with a new key from the next start on; the old ones stay, to open what they sealed", Args: cobra.NoArgs,
		Long: "new-sealing-key puts a new key in front of those in the sealing key file. The server seals with it from\n" +
			"its next start on. The old keys stay in the file and must: what they sealed opens with nothing else.\n" +
			"Run it as the user that the server runs as, then keep a copy of the file, and restart.",
		RunE: func(*cobra.Command, []string) error {
			conf, err := c.configuration()
			if err != nil {
				return err
			}
			file := conf.SealingKeyPath()
			keys, err := secret.ReadKeyFile(file)
			if err != nil {
				return err
			}
			made := secret.NewSealingKey()
			if err := secret.WriteKeyFile(file, append([]secret.SealingKey{made}, keys...)...); err != nil {
				return err
			}
			if c.json {
				return c.printValue(map[string]any{"file": file, "id": made.ID.String(), "older": len(keys)})
			}
			_, err = fmt.Fprintf(c.out, "%s begins with the new key %s; %s below it for what is sealed already.\n"+
				"Now keep a copy of the file elsewhere, and restart the server (on every node, with the same file).\n",
				file, made.ID, counted(len(keys), "older one stays", "older ones stay"))
			return err
		},
	}
}
