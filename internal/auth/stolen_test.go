package auth

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"testing"

	"postern/internal/relay"
	"postern/internal/sasl"
	"postern/internal/secret"
)

// AU-36: whoever reads the stored rows can log in with nothing of them.
func TestStoredFormsLetNobodyIn(t *testing.T) {
	w := newWorld(t, nil)
	key, row := w.apiKey(t, nil)
	login, _, device := w.appPassword(t, nil)
	v := row.Verifier
	id := "SG." + key.IDText() + "."
	forms := map[string][]byte{
		"hash": v.SHA256[:], "stored key": v.SCRAMStoredKey, "server key": v.SCRAMServerKey, "salt": v.SCRAMSalt, "sealed": v.SealedCRAM, "app password's hash": device.Verifier.SHA256[:],
	}
	for name, form := range forms {
		for _, text := range []string{string(form), hex.EncodeToString(form), base64.RawURLEncoding.EncodeToString(form), base64.StdEncoding.EncodeToString(form), id + base64.RawURLEncoding.EncodeToString(form)} {
			for _, user := range []string{"apikey", key.IDText(), login} {
				for _, m := range mechanisms {
					if err := w.login(m.Mechanism, m.client(user, secret.Redacted(text))); err == nil || w.who != nil {
						t.Errorf("%s as %s by %s lets %s in", name, text, m.Name, user)
					}
				}
			}
			at := w.http("", secret.Redacted(text))
			cancelled, cancel := context.WithCancel(context.Background())
			cancel()
			if _, err := w.Bearer(cancelled, at); err == nil {
				t.Errorf("%s lets in by HTTP", name)
			}
		}
	}
	// A token needs the sealing key, which is in no row.
	other := newWorld(t, nil)
	forged, _, err := other.MintToken(&relay.Principal{Key: row}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.login(sasl.XOAuth2, sasl.NewXOAuth2Client("", forged)); err == nil {
		t.Error("a token made from a row lets in")
	}
}
