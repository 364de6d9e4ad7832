package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"postern/internal/secret"
)

// Cookies. On https each name has the prefix __Host-: no other name of the domain
// can set it (RFC 6265bis; AC-10). SameSite is Lax: a link in a mail must find its
// reader logged in, and every change checks its origin besides.
const (
	sessionCookie = "postern"
	flashCookie   = "postern-notice"
	ssoCookie     = "postern-sso"
	themeCookie   = "postern-theme"
)

func (c *Console) cookieName(r *http.Request, name string) string {
	if c.Secure(r) {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie; life 0 is until the browser ends, below it is taken away.
func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, name, value string, life time.Duration) {
	k := &http.Cookie{
		Name: c.cookieName(r, name), Value: value, Path: "/", Secure: c.Secure(r), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	switch {
	case life > 0:
		k.MaxAge = int(life / time.Second)
	case life < 0:
		k.MaxAge = -1
	}
	http.SetCookie(w, k)
}

// cookie returns a cookie's value. One that is there twice is none.
func (c *Console) cookie(r *http.Request, name string) string {
	all := r.CookiesNamed(c.cookieName(r, name))
	if len(all) != 1 {
		return ""
	}
	return all[0].Value
}

func (c *Console) token(r *http.Request) secret.Redacted {
	t := c.cookie(r, sessionCookie)
	if len(t) > 256 {
		return ""
	}
	return secret.Redacted(t)
}

// setToken keeps the session's token in the browser. It has no age: the server
// knows when a session ends.
func (c *Console) setToken(w http.ResponseWriter, r *http.Request, token secret.Redacted) {
	if token == "" {
		c.setCookie(w, r, sessionCookie, "", -1)
		return
	}
	c.setCookie(w, r, sessionCookie, token.Reveal(), 0)
}

// flashLife is how long a notice waits for its page.
const flashLife = time.Minute

// setFlash keeps the word that something was done for the page that comes next. It is
// signed, because it is shown as our words.
func (c *Console) setFlash(w http.ResponseWriter, r *http.Request, text string) {
	c.setTold(w, r, toneOK, text)
}

// setTold is setFlash with a tone: toneWarn of what was done and is not all, toneBad
// of what was not done.
func (c *Console) setTold(w http.ResponseWriter, r *http.Request, tone, text string) {
	until := strconv.FormatInt(c.Now().Add(flashLife).Unix(), 10)
	body := until + "." + base64.RawURLEncoding.EncodeToString([]byte(tone+"\x00"+clip(text, 1000)))
	c.setCookie(w, r, flashCookie, body+"."+c.mac(body), flashLife)
}

// flash takes the notice.
func (c *Console) flash(w http.ResponseWriter, r *http.Request) (tone, text string) {
	value := c.cookie(r, flashCookie)
	if value == "" {
		return "", ""
	}
	c.setCookie(w, r, flashCookie, "", -1)
	i := strings.LastIndexByte(value, '.')
	if i < 0 || !hmac.Equal([]byte(c.mac(value[:i])), []byte(value[i+1:])) {
		return "", ""
	}
	until, coded, _ := strings.Cut(value[:i], ".")
	if n, err := strconv.ParseInt(until, 10, 64); err != nil || c.Now().Unix() > n {
		return "", ""
	}
	b, err := base64.RawURLEncoding.DecodeString(coded)
	if err != nil {
		return "", ""
	}
	tone, text, _ = strings.Cut(string(b), "\x00")
	return tone, text
}

func (c *Console) mac(text string) string {
	m := hmac.New(sha256.New, c.Key)
	m.Write([]byte("console notice\x00" + text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// theme is "light", "dark" or "" (as the system has it).
func (c *Console) theme(r *http.Request) string {
	if t := c.cookie(r, themeCookie); t == "light" || t == "dark" {
		return t
	}
	return ""
}
