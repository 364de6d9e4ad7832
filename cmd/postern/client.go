package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"postern/internal/config"
	"postern/internal/httpx"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 20

// client talks to the administration of a running server.
type client struct {
	http   *http.Client
	socket string
}

func (c *cli) client() (*client, error) {
	dir, err := c.dataDirectory()
	if err != nil {
		return nil, err
	}
	path := config.SocketPath(dir)
	return &client{socket: path, http: &http.Client{
		Timeout: 5 * time.Minute, // an action on a whole queue takes its time
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		}},
	}}, nil
}

// apiError is what the server answered, in its words.
type apiError struct {
	status int
	text   string
}

func (e *apiError) Error() string { return e.text }

// do sends a request and returns the answer's JSON. in may be nil.
func (c *client) do(ctx context.Context, method, path string, query url.Values, in any) (json.RawMessage, error) {
	target := "http://postern/admin/v1" + path
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
		return nil, readError(resp.StatusCode, text)
	}
	return text, nil
}

// explain says what to do about a socket that does not answer.
func (c *client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s: is \"postern serve\" running? (Another server: --data-dir)", c.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody answers on %s: \"postern serve\" is not running", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be opened: run this as the user that the server runs as, or as root", c.socket)
	}
	return fmt.Errorf("ask the server on %s: %w", c.socket, err)
}

func readError(status int, text []byte) error {
	var body httpx.ErrorBody
	if err := json.Unmarshal(text, &body); err != nil || len(body.Errors) == 0 {
		return &apiError{status, fmt.Sprintf("the server answered %d", status)}
	}
	var lines []string
	for _, e := range body.Errors {
		line := e.Message
		if e.Field != nil {
			line = *e.Field + ": " + line
		}
		if body.ID != "" {
			line += " (" + body.ID + ")"
		}
		lines = append(lines, line)
	}
	return &apiError{status, strings.Join(lines, "\n")}
}

// get asks for something and decodes it.
func get[T any](ctx context.Context, c *client, path string, query url.Values) (T, json.RawMessage, error) {
	var v T
	text, err := c.do(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return v, nil, err
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return v, text, nil
}

// post sends something and decodes the answer.
func post[T any](ctx context.Context, c *client, path string, in any) (T, json.RawMessage, error) {
	return sendJSON[T](ctx, c, http.MethodPost, path, in)
}

func sendJSON[T any](ctx context.Context, c *client, method, path string, in any) (T, json.RawMessage, error) {
	var v T
	text, err := c.do(ctx, method, path, nil, in)
	if err != nil {
		return v, nil, err
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return v, text, nil
}

// results is the shape of lists.
type results[T any] struct {
	Result []T `json:"result"`
}

// segment is one element of a path.
func segment(s string) string { return "/" + url.PathEscape(s) }
