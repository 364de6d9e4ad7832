package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"postern/internal/relay"
	"postern/internal/sink"
)

// step is one thing that is done and must go as expected. do returns the
// outcome in words, for people.
type step struct {
	what string
	do   func(*visitor, context.Context) (outcome string, err error)
}

// chapter is steps that belong together. Where each needs the one before, what
// comes after one that fails is left out.
type chapter struct {
	title   string
	chained bool
	steps   []step
}

// visitor is who goes on the tour, with what was learnt on the way.
type visitor struct {
	w       *world
	begin   time.Time
	client  *client
	subject string
	id      string // of the message that was queued last
	got     sink.Message
	refused int // messages
	narrow  narrowKey
	shop    provenDomain
	score   int // of the flawed account
}

// stepTime bounds one step.
const stepTime = 45 * time.Second

// chapters is the tour.
var chapters = []chapter{
	{"A message, handed in with STARTTLS", true, []step{
		{"Encrypted: STARTTLS, the certificate checked against the demo's own authority", (*visitor).connectStartTLS},
		{"Logged in: AUTH PLAIN with the key, under TLS only", (*visitor).logInPlain},
		{"Sender allowed: " + author + " is at a domain of the key's account", (*visitor).handIn},
		{"Queued: on stable storage before the relay said 250", (*visitor).queued},
		{"Signed: DKIM with RSA-2048 and Ed25519 by " + customer, (*visitor).signed},
		{"Delivered: looked up in DNS, handed over under TLS", (*visitor).delivered},
		{"Verified at the other end: SPF, DKIM and DMARC", (*visitor).verified},
	}},
	{"Another, with TLS from the first byte", true, []step{
		{"Encrypted: TLS before a word was said", (*visitor).connectTLS},
		{"Logged in: AUTH LOGIN with the key", (*visitor).logInLogin},
		{"Queued", (*visitor).handIn},
		{"Delivered and verified at the other end", (*visitor).verified},
	}},
	{"By HTTP, as clients of SendGrid's API send", true, []step{
		{"Queued: POST /v3/mail/send", (*visitor).handInByHTTP},
		{"Delivered and verified at the other end", (*visitor).verified},
	}},
	{"A domain, proven by its DNS records", true, []step{
		{"Added: POST /v3/whitelabel/domains makes keys and says what to publish", (*visitor).addDomain},
		{"Refused as long as nothing proves it: " + shopAuthor, (*visitor).refuseShop},
		{"Looked at, and told in words what is missing", (*visitor).unproven},
		{"Published in the DNS of " + shop, (*visitor).publishShop},
		{"Proven", (*visitor).proven},
		{"Queued: the same message is taken now", (*visitor).sendAsShop},
		{"Delivered and verified at the other end, aligned by SPF and by DKIM", (*visitor).alignedShop},
		{"New keys, with nobody touching that DNS: POST …/rotate", (*visitor).rotateShop},
	}},
	{"A narrow door, opened and shut", true, []step{
		{"A key of its own, made by POST /v3/api_keys", (*visitor).makeNarrowKey},
		{"What it may not do is refused: reading the list of keys", (*visitor).refuseScope},
		{"A short-lived token for it: POST /oauth/token", (*visitor).takeToken},
		{"Logged in with the token: AUTH OAUTHBEARER", (*visitor).logInToken},
		{"Revoked: dead in open sessions, and its tokens with it", (*visitor).revokeNarrowKey},
	}},
	{"An account with flaws, audited", true, []step{
		{"Planted: the account " + flawedAccount + ", which nobody looks after", (*visitor).lookAtFlawed},
		{"Found by its audit report: exactly those flaws, each with the command that mends it", (*visitor).auditFlawed},
		{"Mended: one of them", (*visitor).mendFlaw},
	}},
	{"What is refused", false, []step{
		{"A forged From: " + forged + ", a domain of no account", refuseFrom(forged)},
		{"Another tenant's domain: " + foreign, refuseFrom(foreign)},
		{"A wrong key", (*visitor).refuseKey},
		{"AUTH without TLS", (*visitor).refuseCleartext},
		{"Mail without AUTH", (*visitor).refuseNobody},
		{"On record: every login, and why it was refused", (*visitor).logins},
		{"Arrived of what was refused: nothing", (*visitor).nothingElse},
	}},
}

// tour goes through the chapters and returns how many steps failed.
func tour(ctx context.Context, w *world, p *printer) (failed int) {
	v := &visitor{w: w, begin: time.Now().Truncate(time.Second)}
	defer v.leave()
	for _, ch := range chapters {
		p.title(ch.title)
		for i, s := range ch.steps {
			outcome, err := v.take(ctx, s)
			if err == nil {
				p.step(true, s.what, outcome)
				continue
			}
			failed++
			if ctx.Err() != nil { // interrupted: the step is not to blame
				return failed
			}
			p.step(false, s.what, err.Error())
			if left := len(ch.steps) - i - 1; ch.chained {
				p.step(false, fmt.Sprintf("%d steps that need it are left out", left), "")
				break
			}
		}
		v.leave()
	}
	return failed
}

func (v *visitor) take(ctx context.Context, s step) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	return s.do(v, ctx)
}

func (v *visitor) leave() {
	if v.client != nil {
		_, _ = v.client.say("QUIT")
		v.client.close()
		v.client = nil
	}
}

func (v *visitor) connectStartTLS(ctx context.Context) (string, error) {
	c, err := dial(ctx, v.w.ready.SMTPStartTLS, nil)
	if err != nil {
		return "", err
	}
	v.client = c
	if err := c.startTLS(ctx, v.w.tls()); err != nil {
		return "", err
	}
	return encryption(c), nil
}

func (v *visitor) connectTLS(ctx context.Context) (string, error) {
	c, err := dial(ctx, v.w.ready.SMTPTLS, v.w.tls())
	if err != nil {
		return "", err
	}
	v.client = c
	if _, err := c.want("250", "EHLO laptop.acme.test"); err != nil {
		return "", err
	}
	return encryption(c), nil
}

func encryption(c *client) string {
	return fmt.Sprintf("%s %s, certificate of %s", tls.VersionName(c.tls.Version), tls.CipherSuiteName(c.tls.CipherSuite), c.tls.PeerCertificates[0].Subject.CommonName)
}

func (v *visitor) logInPlain(context.Context) (string, error) {
	r, err := v.client.want("235 2.7.0", plain(username, v.w.ready.APIKey))
	return r.String(), err
}

func (v *visitor) logInLogin(context.Context) (string, error) {
	r, err := v.client.login(username, v.w.ready.APIKey)
	if err == nil && !r.is("235 2.7.0") {
		err = fmt.Errorf("answered %s", r)
	}
	return r.String(), err
}

// message is what is sent. Date and Message-ID are left to the relay.
func message(from, subject string) string {
	return "From: Ann <" + from + ">\r\nTo: Bob <" + recipient + ">\r\nSubject: " + subject + "\r\n\r\n" +
		"Hello Bob,\r\n\r\nthis left through the side gate.\r\n.\r\nAnn\r\n"
}

var queuedAs = regexp.MustCompile(`^250 2\.0\.0 Ok: queued as ([A-Za-z0-9_-]{22})$`)

func (v *visitor) handIn(context.Context) (string, error) { return v.handInAs(author) }

func (v *visitor) handInAs(from string) (string, error) {
	v.subject = "demo " + relay.NewID(time.Now()).String()
	r, err := v.client.send(from, recipient, message(from, v.subject))
	if err != nil {
		return "", err
	}
	m := queuedAs.FindStringSubmatch(r.String())
	if m == nil {
		return "", fmt.Errorf("answered %s", r)
	}
	v.id = m[1]
	return r.String(), nil
}

func (v *visitor) queued(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, data, err := v.w.records.event(ctx, v.id, relay.EventReceived)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("message %s, %d octets, from %s", v.id, data.Size, data.From), nil
}

// arrive waits for the message at the receiving server.
func (v *visitor) arrive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := v.w.inbox.Wait(ctx, func(m sink.Message) bool { return hasSubject(m, v.subject) })
	if err != nil {
		return fmt.Errorf("message %s has not arrived: %w", v.id, err)
	}
	v.got = m
	return nil
}

func hasSubject(m sink.Message, subject string) bool {
	head, _, _ := strings.Cut(string(m.Raw), "\r\n\r\n")
	return strings.Contains(head+"\r\n", "\r\nSubject: "+subject+"\r\n")
}

func (v *visitor) signed(ctx context.Context) (string, error) {
	if err := v.arrive(ctx); err != nil {
		return "", err
	}
	var lines []string
	seen := map[string]bool{}
	for _, s := range v.got.Signatures {
		lines = append(lines, fmt.Sprintf("%s, selector %s of %s", s.Algorithm, s.Selector, s.Domain))
		seen[s.Algorithm] = seen[s.Algorithm] || s.Domain == customer
	}
	if !seen["rsa-sha256"] || !seen["ed25519-sha256"] {
		return "", fmt.Errorf("signatures of %s: %q", customer, lines)
	}
	return strings.Join(lines, "\n"), nil
}

func (v *visitor) delivered(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, data, err := v.w.records.event(ctx, v.id, relay.EventDelivered)
	switch {
	case err != nil:
		return "", err
	case data.TLS == "":
		return "", errors.New("delivered without TLS")
	}
	return fmt.Sprintf("to %s [%s], %s\nit said: %s", data.Host, data.IP, data.TLS, data.Reply), nil
}

func (v *visitor) verified(ctx context.Context) (string, error) {
	if err := v.arrive(ctx); err != nil {
		return "", err
	}
	m := v.got
	if m.SPF != "pass" || m.DKIM != "pass" || m.DMARC != "pass" {
		return "", errors.New(m.AuthenticationResults)
	}
	for _, s := range m.Signatures {
		if s.Result != "pass" {
			return "", fmt.Errorf("signature %s of %s: %s (%s)", s.Selector, s.Domain, s.Result, s.Reason)
		}
	}
	_, results, _ := strings.Cut(m.AuthenticationResults, "; ")
	return strings.ReplaceAll(results, "; ", "\n"), nil
}
