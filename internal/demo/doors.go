package demo

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"postern/internal/relay"
)

// narrowKey is a key that the tour makes over the HTTP API, and ends again.
type narrowKey struct {
	ID     string `json:"api_key_id"`
	Secret string `json:"api_key"`
	token  string
}

// api asks the relay's HTTP API and returns status, headers and body.
func (v *visitor) api(ctx context.Context, key, method, path string, body any) (*http.Response, []byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+v.w.ready.HTTP+path, bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	return ask(req)
}

func ask(req *http.Request) (*http.Response, []byte, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, text, err
}

// handInByHTTP sends as clients of SendGrid's API do.
func (v *visitor) handInByHTTP(ctx context.Context) (string, error) {
	v.subject = "demo " + relay.NewID(time.Now()).String()
	type address struct {
		Email string `json:"email"`
	}
	resp, text, err := v.api(ctx, v.w.ready.APIKey, http.MethodPost, "/v3/mail/send", map[string]any{
		"personalizations": []any{map[string]any{"to": []address{{recipient}}}}, "from": address{author}, "subject": v.subject,
		"content": []any{map[string]string{"type": "text/plain", "value": "Hello Bob,\n\nthis came by HTTP.\n"}},
	})
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusAccepted {
		return "", fmt.Errorf("answered %s: %s", resp.Status, text)
	}
	v.id = resp.Header.Get("X-Message-Id")
	return resp.Status + ", X-Message-Id " + v.id, nil
}

func (v *visitor) makeNarrowKey(ctx context.Context) (string, error) {
	resp, text, err := v.api(ctx, v.w.ready.APIKey, http.MethodPost, "/v3/api_keys", map[string]any{
		"name": "narrow", "scopes": []string{relay.ScopeMailSend}, "senders": []string{author}, "networks": []string{"127.0.0.0/8"},
		"per_minute": 10, "expires_at": time.Now().Add(15 * time.Minute).UTC().Format(time.RFC3339),
	})
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("answered %s: %s", resp.Status, text)
	}
	if err := json.Unmarshal(text, &v.narrow); err != nil {
		return "", err
	}
	return fmt.Sprintf("key %s: sends as %s, from this machine, 10 recipients a minute, for 15 minutes", v.narrow.ID, author), nil
}

func (v *visitor) refuseScope(ctx context.Context) (string, error) {
	resp, text, err := v.api(ctx, v.narrow.Secret, http.MethodGet, "/v3/api_keys", nil)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusForbidden {
		return "", fmt.Errorf("answered %s: %s", resp.Status, text)
	}
	return resp.Status + " " + strings.TrimSpace(string(text)), nil
}

// takeToken gets a short-lived token for the narrow key (RFC 6749 §4.4).
func (v *visitor) takeToken(ctx context.Context) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {relay.ScopeMailSend}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+v.w.ready.HTTP+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(v.narrow.ID, v.narrow.Secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, text, err := ask(req)
	if err != nil {
		return "", err
	}
	var answer struct {
		Token   string `json:"access_token"`
		Seconds int    `json:"expires_in"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("answered %s: %s", resp.Status, text)
	}
	v.narrow.token = answer.Token
	return fmt.Sprintf("good for %d seconds, or until its key ends", answer.Seconds), nil
}

// bearer is the AUTH OAUTHBEARER command (RFC 7628).
func (v *visitor) bearer() string {
	text := "n,a=" + v.narrow.ID + ",\x01auth=Bearer " + v.narrow.token + "\x01\x01"
	return "AUTH OAUTHBEARER " + base64.StdEncoding.EncodeToString([]byte(text))
}

func (v *visitor) logInToken(ctx context.Context) (string, error) {
	if _, err := v.connectStartTLS(ctx); err != nil {
		return "", err
	}
	r, err := v.client.want("235 2.7.0", v.bearer())
	return r.String(), err
}

// revokeNarrowKey ends the key, and tries its session and its token again.
func (v *visitor) revokeNarrowKey(ctx context.Context) (string, error) {
	resp, text, err := v.api(ctx, v.w.ready.APIKey, http.MethodDelete, "/v3/api_keys/"+v.narrow.ID, nil)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusNoContent {
		return "", fmt.Errorf("answered %s: %s", resp.Status, text)
	}
	open, err := v.client.want("454 4.7.0", "MAIL FROM:<"+author+">")
	if err != nil {
		return "", err
	}
	v.leave()
	if _, err := v.connectStartTLS(ctx); err != nil {
		return "", err
	}
	if _, err := v.client.want("334", v.bearer()); err != nil {
		return "", err
	}
	again, err := v.client.say("AQ==") // the client's part of the refusal (RFC 7628 §3.2.3)
	if err == nil && again.code != 535 {
		err = errors.New("the token of a revoked key was answered " + again.String())
	}
	return "its open session: " + open.String() + "\nits token: " + again.String(), err
}
