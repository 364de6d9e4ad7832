package oauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// fetchTime bounds one request to an issuer, from the DNS to the last octet.
	fetchTime = 5 * time.Second
	// maxAnswer is the largest document that is taken from an issuer, in octets.
	maxAnswer = 1 << 20
)

// client fetches from one issuer.
type client struct {
	http    *http.Client
	private bool
}

func newClient(cfg Config, is Issuer) *client {
	return &client{private: is.Private, http: &http.Client{
		Timeout: fetchTime,
		// No redirect is ever followed: an issuer says in its discovery document where
		// things are, and a redirect is how it would be made to say something else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // the environment has no say in it
			DialContext:            newDialer(cfg, is.Private).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: is.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    fetchTime,
			ResponseHeaderTimeout:  fetchTime,
			MaxResponseHeaderBytes: 64 << 10,
			MaxConnsPerHost:        maxAsking + 1,
			MaxIdleConnsPerHost:    maxAsking,
			IdleConnTimeout:        30 * time.Second,
			DisableCompression:     true, // what is small on the wire is small here
		},
	}}
}

// get fetches a JSON document.
func (c *client) get(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	return c.do(req)
}

// do makes a request; the answer is 200 and at most maxAnswer. Its type is not
// looked at: key sets are often plain files of a web server that knows no better.
func (c *client) do(req *http.Request) ([]byte, error) {
	switch {
	case req.URL.Scheme == "https":
	case req.URL.Scheme == "http" && c.private:
		req = req.WithContext(context.WithValue(req.Context(), plainKey{}, true))
	default:
		return nil, fmt.Errorf("%s is not https", where(req.URL))
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "postern")
	res, err := c.http.Do(req)
	if err != nil {
		// The error of a client holds the whole URL; the place is enough.
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, fmt.Errorf("%s: %w", where(req.URL), err)
	}
	defer func() { _ = res.Body.Close() }() // read to its end, or of no interest
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", where(req.URL), res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", where(req.URL), err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("%s answers with more than %d octets", where(req.URL), maxAnswer)
	}
	return b, nil
}

func where(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }
