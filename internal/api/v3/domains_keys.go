package v3

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"postern/internal/relay"
	"postern/internal/secret"
)

var domainKeyRoutes = []Route{
	{
		Method: "GET", Pattern: pathDomain + "/keys", Scope: scopeDomainRead, Summary: "List a domain's DKIM keys",
		Answers: map[int]any{200: domainKeys{}}, Handler: (*API).listDomainKeys,
	},
	{
		Method: "POST", Pattern: pathDomain + "/keys", Scope: scopeDomainChange, StepUp: true,
		Summary: "Import a DKIM key under a selector. It signs once its record is found",
		Body:    keyImport{}, Answers: map[int]any{201: domainKey{}}, Handler: (*API).importDomainKey,
	},
	{
		Method: "POST", Pattern: pathDomain + "/keys/{selector}/export", OperatorOnly: true, StepUp: true,
		Summary: "Show a DKIM private key; it stands in the record of changes that it was shown",
		Answers: map[int]any{200: keyExport{}}, Handler: (*API).exportDomainKey,
	},
	{
		Method: "POST", Pattern: pathDomain + "/keys/{selector}/enable", OperatorOnly: true, Summary: "Let a DKIM selector sign, because its record is published",
		Answers: map[int]any{200: domainView{}}, Handler: (*API).enableSelector,
	},
	{
		Method: "POST", Pattern: pathDomain + "/keys/{selector}/disable", OperatorOnly: true, Summary: "Let a DKIM selector sign no more",
		Answers: map[int]any{200: domainView{}}, Handler: (*API).disableSelector,
	},
}

// domainKey is a DKIM key without its secret.
type domainKey struct {
	Selector    string              `json:"selector"`
	Name        string              `json:"name" doc:"of its DNS record"`
	Algorithm   relay.DKIMAlgorithm `json:"algorithm"`
	Bits        int                 `json:"bits,omitempty"`
	State       string              `json:"state" doc:"waiting, signing, retired, withdrawn, off"`
	Active      bool                `json:"active" doc:"signs"`
	Generation  int64               `json:"generation,omitempty"`
	Imported    bool                `json:"imported,omitempty"`
	Record      string              `json:"record" doc:"the TXT value"`
	CreatedAt   time.Time           `json:"created_at"`
	SeenAt      time.Time           `json:"seen_at,omitzero" doc:"when all name servers answered with it"`
	ActivatedAt time.Time           `json:"activated_at,omitzero"`
	RetiredAt   time.Time           `json:"retired_at,omitzero" doc:"signs no more; stays published for mail on its way"`
	WithdrawnAt time.Time           `json:"withdrawn_at,omitzero"`
}

type domainKeys struct {
	Result []domainKey `json:"result"`
}

func viewDomainKeys(d *relay.Domain, keys []relay.DKIMKey) []domainKey {
	out := make([]domainKey, 0, len(keys))
	for i := range keys {
		k := &keys[i]
		seen := k.SeenAt
		if seen.Equal(k.CreatedAt) { // not seen: it is in a hurry
			seen = time.Time{}
		}
		out = append(out, domainKey{
			Selector: k.Selector, Name: k.Selector + "._domainkey." + d.Name, Algorithm: k.Algorithm, Bits: k.Bits, State: keyState(k),
			Active: k.Active, Generation: k.Generation, Imported: k.Imported, Record: k.Record, CreatedAt: k.CreatedAt, SeenAt: seen,
			ActivatedAt: k.ActivatedAt, RetiredAt: k.RetiredAt, WithdrawnAt: k.WithdrawnAt,
		})
	}
	return out
}

func keyState(k *relay.DKIMKey) string {
	switch {
	case !k.WithdrawnAt.IsZero():
		return "withdrawn"
	case !k.RetiredAt.IsZero():
		return "retired"
	case k.Active:
		return "signing"
	case !k.ActivatedAt.IsZero():
		return "off"
	}
	return "waiting"
}

func (a *API) listDomainKeys(c *Call) error {
	d, err := a.pathDomain(c)
	if err != nil {
		return err
	}
	keys, err := a.DomainStore.DKIMKeys(c.R.Context(), d.ID)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, domainKeys{viewDomainKeys(&d, keys)})
}

type keyImport struct {
	Selector string          `json:"selector" v3:"required"`
	Private  secret.Redacted `json:"private_key" v3:"required" doc:"PEM: PKCS #8, or PKCS #1 for RSA"`
}

func (a *API) importDomainKey(c *Call) error {
	var in keyImport
	if err := c.Decode(&in); err != nil {
		return err
	}
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	if err := a.Domains.ImportKey(c.R.Context(), c.By, d.ID, in.Selector, []byte(in.Private.Reveal())); err != nil {
		return err
	}
	keys, err := a.DomainStore.DKIMKeys(c.R.Context(), d.ID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(k relay.DKIMKey) bool { return k.Selector == in.Selector })
	if i < 0 {
		return fmt.Errorf("imported key %s of %s is not there", in.Selector, d.Name)
	}
	return c.JSON(http.StatusCreated, viewDomainKeys(&d, keys[i:i+1])[0])
}

// keyExport is the one answer with a private key.
type keyExport struct {
	Selector string `json:"selector"`
	Private  string `json:"private_key,omitempty" doc:"PEM, PKCS #8; not in the answer to a request that is repeated"`
}

func (a *API) exportDomainKey(c *Call) error {
	d, err := a.pathDomain(c)
	if err != nil {
		return err
	}
	pem, err := a.Domains.ExportKey(c.R.Context(), c.By, d.ID, c.R.PathValue("selector"))
	if err != nil {
		return err
	}
	defer clear(pem)
	c.W.Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusOK, keyExport{c.R.PathValue("selector"), string(pem)})
}

func (a *API) enableSelector(c *Call) error  { return a.switchSelector(c, true) }
func (a *API) disableSelector(c *Call) error { return a.switchSelector(c, false) }

// switchSelector lets a DKIM selector sign, or stops it.
func (a *API) switchSelector(c *Call, active bool) error {
	d, err := a.pathDomain(c)
	if err != nil {
		return err
	}
	keys, err := a.DomainStore.DKIMKeys(c.R.Context(), d.ID)
	if err != nil {
		return err
	}
	selector := c.R.PathValue("selector")
	known, others := false, 0
	for _, k := range keys {
		switch {
		case k.Selector == selector:
			known = true
			if active && (!k.RetiredAt.IsZero() || !k.WithdrawnAt.IsZero()) {
				return conflict("selector", "This key is retired; it does not sign again. Rotate the keys instead.")
			}
		case k.Active && k.RetiredAt.IsZero():
			others++
		}
	}
	switch {
	case !known:
		return notFound()
	case !active && others == 0:
		return conflict("selector", "This is the only selector that signs for the domain; mail never leaves unsigned. Enable another first.")
	}
	if err := a.Domains.SetDKIMKeyActive(c.R.Context(), c.By, d.ID, selector, active); err != nil {
		return hidden(err)
	}
	return a.replyDomain(c, http.StatusOK, d.Number)
}
