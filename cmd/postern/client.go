package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"postern/internal/config"
	"postern/internal/httpx"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 20

// client talks to a running server: to its administration on admin.sock, or to
// its HTTP API with a key.
type client struct {
	http   *http.Client
	base   string // URL without a path
	socket string // "" where base is an address
	header http.Header
}

// keyVariable holds the API key for --url: a flag would show it to every user
// of the machine.
const keyVariable = "POSTERN_API_KEY"

func (c *cli) client() (*client, error) {
	if base := environment(c.url, "POSTERN_URL"); base != "" {
		return remoteClient(base, c.caFile)
	}
	dir, err := c.dataDirectory()
	if err != nil {
		return nil, err
	}
	path := config.SocketPath(dir)
	return &client{base: "http://postern", socket: path, header: http.Header{}, http: &http.Client{
		Timeout: 5 * time.Minute, // an action on a whole queue takes its time
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		}},
	}}, nil
}

// remoteClient talks to the HTTP API at an address.
func remoteClient(base, caFile string) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" {
		return nil, usageError("--url must be the server's address, such as https://relay.example.org")
	}
	if u.Scheme == "http" && !localName(u.Hostname()) {
		return nil, usageError("--url: the key would cross the network in the clear; use https")
	}
	key := os.Getenv(keyVariable)
	if key == "" {
		return nil, usageError("--url needs an API key in the environment: " + keyVariable)
	}
	roots, err := trustedRoots(caFile)
	if err != nil {
		return nil, err
	}
	return &client{
		base: u.Scheme + "://" + u.Host, header: http.Header{"Authorization": {"Bearer " + key}},
		http: &http.Client{
			Timeout:   5 * time.Minute,
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
			// A redirect would carry the key elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func localName(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && a.IsLoopback())
}

// trustedRoots reads the certificates to trust; nil is the system's.
func trustedRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// tenantClient is a client for one tenant: on admin.sock of an account and
// perhaps one of its subusers, over the network of the key's own or a subuser.
func (c *cli) tenantClient(ctx context.Context, account, subuser string) (*client, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	if account != "" {
		if cl.socket == "" {
			return nil, usageError("--account is the operator's; with --url the key says which account")
		}
		cl.header.Set("account-id", account)
	}
	if subuser == "" {
		return cl, nil
	}
	if cl.socket != "" && account == "" { // names of subusers are unique over all accounts
		if _, _, err := c.findSubuser(ctx, cl, subuser); err != nil {
			return nil, err
		}
	}
	cl.header.Set("on-behalf-of", subuser)
	return cl, nil
}

// apiError is what the server answered, in its words.
type apiError struct {
	status int
	text   string
}

func (e *apiError) Error() string { return e.text }

// statusOf is the status that the server answered with; 0: it did not refuse.
func statusOf(err error) int {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.status
	}
	return 0
}

// do sends a request and returns the answer's JSON. in may be nil.
func (c *client) do(ctx context.Context, method, path string, query url.Values, in any) (json.RawMessage, error) {
	target := c.base
	switch {
	case strings.HasPrefix(path, "/v3/") || strings.HasPrefix(path, "/oauth/"):
	case c.socket == "":
		return nil, errOperator
	default:
		target += "/admin/v1"
	}
	target += path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(req.Header, c.header)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		return nil, c.readError(resp.StatusCode, text)
	}
	return text, nil
}

// errOperator is the end of what a key cannot ask for.
var errOperator = errors.New("this is the operator's, and done on the server's host; --url is for keys, subusers, access and records")

// onHost ends what the API has for the operator only: over the network it would
// say no more than that there is no such thing.
func (c *client) onHost() error {
	if c.socket == "" {
		return errOperator
	}
	return nil
}

// explain says what to do about a server that does not answer.
func (c *client) explain(err error) error {
	switch {
	case c.socket == "":
		return fmt.Errorf("ask the server: %w", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s: is \"postern serve\" running? (Another server: --data-dir)", c.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody answers on %s: \"postern serve\" is not running", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be opened: run this as the user that the server runs as, or as root", c.socket)
	}
	return fmt.Errorf("ask the server on %s: %w", c.socket, err)
}

// readError reads a refusal. Where it is about the key, it says which one.
func (c *client) readError(status int, text []byte) error {
	var body httpx.ErrorBody
	if err := json.Unmarshal(text, &body); err != nil || len(body.Errors) == 0 {
		return &apiError{status, fmt.Sprintf("the server answered %d", status)}
	}
	var lines []string
	for _, e := range body.Errors {
		line := e.Message
		switch {
		case e.Field == nil:
		case *e.Field == "account-id":
			line = strings.ReplaceAll(line, "in the header account-id", "with --account")
		default:
			line = *e.Field + ": " + line
		}
		if body.ID != "" {
			line += " (" + body.ID + ")"
		}
		lines = append(lines, line)
	}
	words := strings.Join(lines, "\n")
	switch {
	case c.socket != "":
	case status == http.StatusUnauthorized:
		words = "the server refuses the key in " + keyVariable + ": " + words
	case status == http.StatusForbidden && words == "access forbidden":
		words = "the key in " + keyVariable + " may not do this: it lacks a scope (postern scope), or is a subuser's"
	}
	return &apiError{status, words}
}

// call sends a request and decodes the answer, which may be empty.
func call[T any](ctx context.Context, c *client, method, path string, query url.Values, in any) (T, json.RawMessage, error) {
	var v T
	text, err := c.do(ctx, method, path, query, in)
	if err != nil || len(text) == 0 {
		return v, text, err
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return v, text, nil
}

// get asks for something and decodes it.
func get[T any](ctx context.Context, c *client, path string, query url.Values) (T, json.RawMessage, error) {
	return call[T](ctx, c, http.MethodGet, path, query, nil)
}

// post sends something and decodes the answer.
func post[T any](ctx context.Context, c *client, path string, in any) (T, json.RawMessage, error) {
	return call[T](ctx, c, http.MethodPost, path, nil, in)
}

// results is the shape of lists.
type results[T any] struct {
	Result []T `json:"result"`
}

// segment is one element of a path.
func segment(s string) string { return "/" + url.PathEscape(s) }
