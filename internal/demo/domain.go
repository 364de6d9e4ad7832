package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postern/internal/relay"
)

// shop is the domain that the tour proves: it belongs to nobody before.
const (
	shop       = "shop.test"
	shopAuthor = "orders@" + shop
)

// provenDomain is a domain as the HTTP API shows it.
type provenDomain struct {
	ID      int64 `json:"id"`
	Records []struct {
		Name     string `json:"name"`
		Type     string `json:"type"`
		Value    string `json:"value"`
		Required bool   `json:"required"`
	} `json:"records"`
}

// validation is the answer to a check that was asked for.
type validation struct {
	Valid   bool `json:"valid"`
	Results map[string]struct {
		Valid  bool   `json:"valid"`
		Reason string `json:"reason"`
	} `json:"validation_results"`
}

const domainsPath = "/v3/whitelabel/domains"

// ask2xx asks the HTTP API with the demo's key and reads the answer into out.
func (v *visitor) ask2xx(ctx context.Context, method, path string, body, out any) error {
	resp, text, err := v.api(ctx, v.w.ready.APIKey, method, path, body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s answered %s: %s", method, path, resp.Status, text)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// addDomain adds the domain; one that an earlier demo in this directory proved is
// removed first.
func (v *visitor) addDomain(ctx context.Context) (string, error) {
	var before []provenDomain
	if err := v.ask2xx(ctx, http.MethodGet, domainsPath+"?"+url.Values{"domain": {shop}}.Encode(), nil, &before); err != nil {
		return "", err
	}
	for _, d := range before {
		if err := v.ask2xx(ctx, http.MethodDelete, fmt.Sprintf("%s/%d", domainsPath, d.ID), nil, nil); err != nil {
			return "", err
		}
	}
	if err := v.ask2xx(ctx, http.MethodPost, domainsPath, map[string]any{"domain": shop, "automatic_security": true}, &v.shop); err != nil {
		return "", err
	}
	var lines []string
	for _, r := range v.shop.Records {
		if r.Required {
			lines = append(lines, fmt.Sprintf("%s %s %s", r.Name, r.Type, r.Value))
		}
	}
	if len(lines) == 0 {
		return "", errors.New("the answer names no records to publish")
	}
	return "to publish:\n" + strings.Join(lines, "\n"), nil
}

// validate asks the relay to look at the domain's records now.
func (v *visitor) validate(ctx context.Context) (validation, error) {
	var got validation
	err := v.ask2xx(ctx, http.MethodPost, fmt.Sprintf("%s/%d/validate", domainsPath, v.shop.ID), map[string]any{}, &got)
	return got, err
}

func (v *visitor) unproven(ctx context.Context) (string, error) {
	got, err := v.validate(ctx)
	if err != nil {
		return "", err
	}
	if got.Valid {
		return "", errors.New("it is called valid with no record published")
	}
	if r := got.Results["mail_cname"]; !r.Valid && r.Reason != "" {
		return r.Reason, nil
	}
	return "", fmt.Errorf("no reason is given: %+v", got)
}

// publishShop does what the domain's owner does at their DNS host.
func (v *visitor) publishShop(context.Context) (string, error) {
	n := 0
	for _, r := range v.shop.Records {
		if r.Type != "CNAME" {
			continue
		}
		if err := v.w.zone.Set(r.Name, r.Type, recordTTL, r.Value); err != nil {
			return "", err
		}
		n++
	}
	return fmt.Sprintf("%d aliases, as its owner would at their DNS host; from now on keys change without touching it", n), nil
}

func (v *visitor) proven(ctx context.Context) (string, error) {
	var got validation
	err := v.until(ctx, func() (done bool, err error) {
		got, err = v.validate(ctx)
		return got.Valid, err
	})
	if err != nil {
		return "", fmt.Errorf("still not valid: %+v: %w", got.Results, err)
	}
	return "valid: the domain's own name server was asked, not a cache", nil
}

// until asks again and again. Who asks for looks at name servers too quickly gets
// the last one's result.
func (v *visitor) until(ctx context.Context, ask func() (bool, error)) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if done, err := ask(); err != nil || done {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// door is an SMTP session that is logged in.
func (v *visitor) door(ctx context.Context) error {
	if v.client != nil {
		return nil
	}
	if _, err := v.connectTLS(ctx); err != nil {
		return err
	}
	_, err := v.logInPlain(ctx)
	return err
}

func (v *visitor) refuseShop(ctx context.Context) (string, error) {
	if err := v.door(ctx); err != nil {
		return "", err
	}
	r, err := v.client.send(shopAuthor, recipient, message(shopAuthor, "not proven"))
	if err != nil {
		return "", err
	}
	if !r.is("550 5.7.1 The from address does not match a verified Sender Identity.") {
		return "", fmt.Errorf("answered %s", r)
	}
	v.refused++
	return r.String(), nil
}

func (v *visitor) sendAsShop(ctx context.Context) (string, error) {
	if err := v.door(ctx); err != nil {
		return "", err
	}
	return v.handInAs(shopAuthor)
}

// alignedShop wants both proofs of receivers, each for the author's own domain.
func (v *visitor) alignedShop(ctx context.Context) (string, error) {
	outcome, err := v.verified(ctx)
	if err != nil {
		return "", err
	}
	if !strings.HasSuffix(v.got.MailFrom, "."+shop) {
		return "", fmt.Errorf("the return path %s is not below %s", v.got.MailFrom, shop)
	}
	for _, s := range v.got.Signatures {
		if s.Domain != shop {
			return "", fmt.Errorf("signed by %s", s.Domain)
		}
	}
	return outcome, nil
}

// rotateShop makes new keys, and waits until every name server answers with
// their records. They sign some minutes later, when caches have forgotten what
// the selector said before.
func (v *visitor) rotateShop(ctx context.Context) (string, error) {
	if err := v.ask2xx(ctx, http.MethodPost, fmt.Sprintf("%s/%d/rotate", domainsPath, v.shop.ID), map[string]any{}, nil); err != nil {
		return "", err
	}
	var keys struct {
		Result []relay.DKIMKey `json:"result"`
	}
	err := v.until(ctx, func() (bool, error) {
		if _, err := v.validate(ctx); err != nil {
			return false, err
		}
		if err := v.ask2xx(ctx, http.MethodGet, fmt.Sprintf("%s/%d/keys", domainsPath, v.shop.ID), nil, &keys); err != nil {
			return false, err
		}
		return slices.ContainsFunc(keys.Result, func(k relay.DKIMKey) bool { return k.Selector == "s2" && !k.SeenAt.IsZero() }), nil
	})
	if err != nil {
		return "", fmt.Errorf("s2 was not seen: %w", err)
	}
	return "s2 is published, and every name server answers with it; it signs as soon as no cache can have the selector's old answer,\nand s1 stays published for the mail that it signed", nil
}
