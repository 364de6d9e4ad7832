package people

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/oauth2"
)

// complete adds to the claims of a token what an issuer says of a person at its UserInfo
// endpoint only (OpenID Connect Core §5.3): many keep groups and addresses out of their
// tokens. Nothing that the token says is replaced, and how and when the person was asked
// (amr, acr, auth_time) is the token's to say. ctx has the issuer's client.
func (is *issuer) complete(ctx context.Context, d *discovered, token *oauth2.Token, subject string, claims map[string]any) error {
	_, mail := claims["email"]
	_, groups := claims[is.GroupsClaim]
	if mail && (groups || len(is.Roles) == 0) || d.provider.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := d.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	switch {
	case err != nil:
		return fmt.Errorf("ask for what the token leaves out: %w", err)
	case info.Subject != subject: // §5.3.2
		return errors.New("what the token leaves out was answered about somebody else")
	}
	more := map[string]any{}
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("read what the token leaves out: %w", err)
	}
	add := func(name string) {
		if _, ok := claims[name]; !ok && more[name] != nil {
			claims[name] = more[name]
		}
	}
	for _, name := range []string{"preferred_username", "given_name", "family_name"} {
		add(name)
	}
	switch is.GroupsClaim {
	case "amr", "acr", "auth_time":
	default:
		add(is.GroupsClaim)
	}
	if !mail { // whether an address is verified goes with the address
		delete(claims, "email_verified")
		add("email")
		add("email_verified")
	}
	return nil
}
