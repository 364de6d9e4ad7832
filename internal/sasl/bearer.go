package sasl

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"postern/internal/secret"
)

// The mechanisms that take an OAuth 2.0 bearer token: OAUTHBEARER (RFC 7628), and
// XOAUTH2, which came before it and which mail programs still have.
var (
	OAuthBearer = Mechanism{Name: oauthName, New: func(x Exchange) Server {
		return &bearerServer{x: x, name: oauthName, parse: parseOAuthBearer, refused: `{"status":"invalid_token","scope":"mail.send"}`}
	}}
	XOAuth2 = Mechanism{Name: xoauthName, New: func(x Exchange) Server {
		return &bearerServer{x: x, name: xoauthName, parse: parseXOAuth2, refused: `{"status":"400","schemes":"Bearer","scope":"mail.send"}`}
	}}
)

const (
	oauthName  = "OAUTHBEARER"
	xoauthName = "XOAUTH2"
	kvsep      = "\x01"
)

// grant is what a client's message of either mechanism says.
type grant struct {
	user  string // "": not said
	host  string
	port  int    // 0: not said
	token string // "": none
}

type bearerServer struct {
	x       Exchange
	name    string
	parse   func(string) (grant, error)
	refused string // the challenge that tells a client why

	asked, over bool
}

// Next implements Server.
func (s *bearerServer) Next(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.over:
		return nil, false, ErrOver
	case s.x.Bearer == nil:
		s.over = true
		return nil, false, errUnserved
	case response == nil && !s.asked:
		s.asked = true
		return []byte{}, false, nil
	}
	s.over = true
	g, err := s.parse(string(response))
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", s.name, err)
	}
	if err := s.judge(ctx, g); err != nil {
		return []byte(s.refused), false, err
	}
	return nil, true, nil
}

// judge asks nobody about what is not meant for this server (RFC 7628 §3.1): a
// token that was sent to another one and passed on must not work here.
func (s *bearerServer) judge(ctx context.Context, g grant) error {
	switch {
	case g.host != "" && s.x.Host != "" && !s.x.isHere(strings.TrimSuffix(g.host, ".")),
		g.port != 0 && s.x.Port != 0 && g.port != s.x.Port:
		return ErrElsewhere
	case g.token == "":
		return ErrNoToken
	}
	return s.x.Bearer(ctx, Bearer{Mechanism: s.name, User: g.user, Token: secret.Redacted(g.token)})
}

// parseOAuthBearer reads gs2-header kvsep *(key "=" value kvsep) kvsep (RFC 7628
// §3.1). Keys that are not known are ignored; none may come twice.
func parseOAuthBearer(s string) (g grant, err error) {
	header, rest, ok := parseGS2(s)
	if !ok {
		return g, ErrMalformed
	}
	if header.flag == 'p' {
		return g, ErrBinding // there is no OAUTHBEARER-PLUS
	}
	if header.authzid != "" {
		if g.user, err = prepareUser(header.authzid); err != nil {
			return g, err
		}
	}
	rest, ok1 := strings.CutPrefix(rest, kvsep)
	rest, ok2 := strings.CutSuffix(rest, kvsep+kvsep)
	if !ok1 || !ok2 {
		return g, ErrMalformed
	}
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(rest, kvsep) {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || !validKey(key) || seen[key] || !validValue(value) {
			return g, ErrMalformed
		}
		seen[key] = true
		if !g.set(key, value) {
			return g, ErrMalformed
		}
	}
	if !seen["auth"] {
		return g, ErrMalformed
	}
	return g, nil
}

// set takes one key and value; false: the value is not one of the key's.
func (g *grant) set(key, value string) (ok bool) {
	switch key {
	case "auth":
		g.token, ok = bearerToken(value)
		return ok || value == ""
	case "host":
		g.host = value
		return value != "" && len(value) <= 255
	case "port":
		n, err := strconv.ParseUint(value, 10, 16)
		g.port = int(n)
		return err == nil && n > 0 && value[0] != '+'
	}
	return true
}

// parseXOAuth2 reads "user=" name kvsep "auth=Bearer " token kvsep kvsep, and
// nothing else.
func parseXOAuth2(s string) (g grant, err error) {
	s, ok1 := strings.CutPrefix(s, "user=")
	s, ok2 := strings.CutSuffix(s, kvsep+kvsep)
	user, auth, ok3 := strings.Cut(s, kvsep+"auth=")
	if !ok1 || !ok2 || !ok3 {
		return g, ErrMalformed
	}
	if user != "" {
		if g.user, err = prepareUser(user); err != nil {
			return g, err
		}
	}
	if g.token, ok1 = bearerToken(auth); !ok1 {
		return g, ErrMalformed
	}
	return g, nil
}

// bearerToken reads the credentials of RFC 6750 §2.1. The name of the scheme is
// in any case (RFC 9110 §11.1).
func bearerToken(s string) (string, bool) {
	scheme, token, _ := strings.Cut(s, " ")
	body := strings.TrimRight(token, "=")
	return token, strings.EqualFold(scheme, "Bearer") && body != "" && strings.Trim(body, tokenAlphabet) == ""
}

// tokenAlphabet is that of b64token (RFC 6750 §2.1), without the padding.
const tokenAlphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/"

// validKey is key of RFC 7628 §3.1.
func validKey(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isLetter(s[i]) {
			return false
		}
	}
	return s != ""
}

// validValue is value of RFC 7628 §3.1: visible ASCII and white space.
func validValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 0x7f || c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// NewOAuthBearerClient logs in with OAUTHBEARER. user, host and port may be
// empty.
func NewOAuthBearerClient(user string, token secret.Redacted, host string, port int) Client {
	msg := "n,"
	if user != "" {
		msg += "a=" + encodeName(user)
	}
	msg += "," + kvsep
	if host != "" {
		msg += "host=" + host + kvsep
	}
	if port != 0 {
		msg += "port=" + strconv.Itoa(port) + kvsep
	}
	msg += "auth=Bearer " + token.Reveal() + kvsep + kvsep
	return &bearerClient{name: oauthName, message: secret.Redacted(msg), parse: parseOAuthBearer, dummy: []byte(kvsep)}
}

// NewXOAuth2Client logs in with XOAUTH2.
func NewXOAuth2Client(user string, token secret.Redacted) Client {
	msg := "user=" + user + kvsep + "auth=Bearer " + token.Reveal() + kvsep + kvsep
	return &bearerClient{name: xoauthName, message: secret.Redacted(msg), parse: parseXOAuth2, dummy: []byte{}}
}

type bearerClient struct {
	name    string
	message secret.Redacted
	parse   func(string) (grant, error)
	dummy   []byte
	told    bool // the server has said what is wrong
}

// Start implements Client.
func (c *bearerClient) Start() (string, []byte, error) {
	if g, err := c.parse(c.message.Reveal()); err != nil || g.token == "" {
		return "", nil, fmt.Errorf("%s client: %w", c.name, ErrMalformed)
	}
	return c.name, []byte(c.message.Reveal()), nil
}

// Next implements Client: the server says why it will refuse, and wants an answer
// before it does.
func (c *bearerClient) Next([]byte) ([]byte, error) {
	if c.told {
		return nil, fmt.Errorf("%s client: unexpected challenge: %w", c.name, ErrMalformed)
	}
	c.told = true
	return c.dummy, nil
}

// isHere reports whether a client that names this host means this server.
func (x *Exchange) isHere(host string) bool {
	return strings.EqualFold(host, strings.TrimSuffix(x.Host, ".")) || (x.KnownAs != nil && x.KnownAs(host))
}
