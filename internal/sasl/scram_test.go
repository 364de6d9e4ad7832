package sasl_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/xdg-go/scram"

	"postern/internal/sasl"
	"postern/internal/secret"
)

var scramSalt = []byte("sixteen octets!!")

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// scramKeys are what a server keeps of a password.
func scramKeys(password string) sasl.SCRAMKeys {
	salted, err := pbkdf2.Key(sha256.New, password, scramSalt, 4096, sha256.Size)
	if err != nil {
		panic(err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	return sasl.SCRAMKeys{StoredKey: stored[:], ServerKey: mac(salted, "Server Key")}
}

var timsKeys = sync.OnceValue(func() []sasl.SCRAMKeys { return []sasl.SCRAMKeys{scramKeys("newsecret"), scramKeys("oldsecret")} })

// scramWorld is a server's side: tim has two secrets, nobody else any.
type scramWorld struct {
	asked  []string
	proofs []sasl.Proof
	x      sasl.Exchange
}

var bindingData = bytes.Repeat([]byte{0xcb}, 32)

func newSCRAMWorld() *scramWorld {
	w := &scramWorld{}
	keys := timsKeys()
	w.x = sasl.Exchange{
		SCRAM: func(_ context.Context, user string) sasl.SCRAMUser {
			w.asked = append(w.asked, user)
			u := sasl.SCRAMUser{Salt: scramSalt, Iterations: 4096}
			if user == "tim" || user == "a,b=c" {
				u.Keys = keys
			}
			return u
		},
		Proved: func(_ context.Context, p sasl.Proof) error {
			w.proofs = append(w.proofs, p)
			if p.Key < 0 {
				return errWrong
			}
			return nil
		},
		Binding: func(name string) ([]byte, bool) { return bindingData, name == "tls-exporter" },
		Plus:    true,
	}
	return w
}

// TestSCRAM: AU-16, with both of a key's secrets valid (a rotation's overlap).
func TestSCRAM(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		user, password string
		key            int
		err            error
	}{{"tim", "newsecret", 0, nil}, {"tim", "oldsecret", 1, nil}, {"a,b=c", "newsecret", 0, nil}, {"tim", "wrong", -1, errWrong}, {"kurt", "newsecret", -1, errWrong}} {
		for name, b := range map[string]sasl.SCRAMBinding{"SCRAM-SHA-256": {}, "SCRAM-SHA-256-PLUS": {Name: "tls-exporter", Data: bindingData}} {
			w := newSCRAMWorld()
			s := mechanism(t, name).New(w.x)
			c := sasl.NewSCRAMClient(tt.user, secret.Redacted(tt.password), b)
			err := run(c, name, func(p []byte) ([]byte, bool, error) { return s.Next(t.Context(), p) })
			if !errors.Is(err, tt.err) || (done(c) == nil) != (tt.err == nil) {
				t.Errorf("%s as %s with %s: %v, %v", name, tt.user, tt.password, err, done(c))
			}
			if want := (sasl.Proof{Mechanism: name, User: tt.user, Key: tt.key}); len(w.proofs) != 1 || w.proofs[0] != want || len(w.asked) != 1 {
				t.Errorf("%s as %s with %s: %+v, asked about %q", name, tt.user, tt.password, w.proofs, w.asked)
			}
			if _, in, err := s.Next(t.Context(), nil); in || !errors.Is(err, sasl.ErrOver) {
				t.Errorf("after the end: %v, %v", in, err)
			}
		}
	}
}

func done(c sasl.Client) error { return c.(interface{ Done() error }).Done() }

// mechanism finds one of ours by its name.
func mechanism(t testing.TB, name string) sasl.Mechanism {
	t.Helper()
	for _, m := range sasl.All {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no mechanism %s", name)
	return sasl.Mechanism{}
}

// TestSCRAMForeignClient logs a second implementation's client in.
func TestSCRAMForeignClient(t *testing.T) {
	t.Parallel()
	cb := scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: bindingData}
	other := scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: slices.Concat(bindingData, []byte{0})}
	for name, tt := range map[string]struct {
		mechanism, user, password string
		start                     func(*scram.Client) *scram.ClientConversation
		noPlus                    bool
		err                       error
	}{
		"plain":        {"SCRAM-SHA-256", "tim", "newsecret", (*scram.Client).NewConversation, false, nil},
		"escaped":      {"SCRAM-SHA-256", "a,b=c", "oldsecret", (*scram.Client).NewConversation, false, nil},
		"prepared":     {"SCRAM-SHA-256", "t\u00adim", "newsecret", (*scram.Client).NewConversation, false, nil},
		"wrong":        {"SCRAM-SHA-256", "tim", "nosecret", (*scram.Client).NewConversation, false, errWrong},
		"bound":        {"SCRAM-SHA-256-PLUS", "tim", "newsecret", bind(cb), false, nil},
		"bound, wrong": {"SCRAM-SHA-256-PLUS", "tim", "nosecret", bind(cb), false, errWrong},
		// AU-20: the channel is another one; the announcement was changed on its way.
		"bound elsewhere": {"SCRAM-SHA-256-PLUS", "tim", "newsecret", bind(other), false, sasl.ErrBinding},
		"downgraded":      {"SCRAM-SHA-256", "tim", "newsecret", (*scram.Client).NewConversationAdvertisingChannelBinding, false, sasl.ErrBinding},
		"no plus":         {"SCRAM-SHA-256", "tim", "newsecret", (*scram.Client).NewConversationAdvertisingChannelBinding, true, nil},
		"flag n to plus":  {"SCRAM-SHA-256-PLUS", "tim", "newsecret", (*scram.Client).NewConversation, false, sasl.ErrBinding},
		"p to non-plus":   {"SCRAM-SHA-256", "tim", "newsecret", bind(cb), false, sasl.ErrBinding},
	} {
		w := newSCRAMWorld()
		w.x.Plus = !tt.noPlus
		s := mechanism(t, tt.mechanism).New(w.x)
		client, err := scram.SHA256.NewClient(tt.user, tt.password, "")
		if err != nil {
			t.Fatal(err)
		}
		conv := tt.start(client)
		err = runForeign(t, s, conv)
		if !errors.Is(err, tt.err) || conv.Valid() != (tt.err == nil) {
			t.Errorf("%s: %v, valid %v", name, err, conv.Valid())
		}
	}
}

func bind(cb scram.ChannelBinding) func(*scram.Client) *scram.ClientConversation {
	return func(c *scram.Client) *scram.ClientConversation { return c.NewConversationWithChannelBinding(cb) }
}

func runForeign(t *testing.T, s sasl.Server, conv *scram.ClientConversation) error {
	t.Helper()
	challenge := ""
	for range 4 {
		response, err := conv.Step(challenge)
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		next, done, err := s.Next(t.Context(), []byte(response))
		if done || err != nil {
			return err
		}
		if challenge = string(next); conv.Done() {
			return errors.New("a challenge after the end")
		}
		if strings.HasPrefix(challenge, "v=") {
			if _, err := conv.Step(challenge); err != nil {
				return fmt.Errorf("client: %w", err)
			}
			_, done, err := s.Next(t.Context(), []byte{})
			if err == nil && !done {
				err = errors.New("not done")
			}
			return err
		}
	}
	return errors.New("no end")
}

// TestSCRAMForeignServer logs our client in with a second implementation.
func TestSCRAMForeignServer(t *testing.T) {
	t.Parallel()
	keys := scramKeys("newsecret")
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		if user != "a,b=c" {
			return scram.StoredCredentials{}, errWrong
		}
		return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(scramSalt), Iters: 4096}, StoredKey: keys.StoredKey, ServerKey: keys.ServerKey}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	cb := scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: bindingData}
	for name, tt := range map[string]struct {
		binding sasl.SCRAMBinding
		start   func() *scram.ServerConversation
		ok      bool
	}{
		"SCRAM-SHA-256":      {sasl.SCRAMBinding{}, server.NewConversation, true},
		"unoffered":          {sasl.SCRAMBinding{Unoffered: true}, server.NewConversation, true},
		"downgraded":         {sasl.SCRAMBinding{Unoffered: true}, func() *scram.ServerConversation { return server.NewConversationWithChannelBinding(cb) }, false},
		"SCRAM-SHA-256-PLUS": {sasl.SCRAMBinding{Name: "tls-exporter", Data: bindingData}, func() *scram.ServerConversation { return server.NewConversationWithChannelBindingRequired(cb) }, true},
	} {
		c, conv := sasl.NewSCRAMClient("a,b=c", "newsecret", tt.binding), tt.start()
		_, response, err := c.Start()
		for err == nil && !conv.Done() {
			var challenge string
			if challenge, err = conv.Step(string(response)); err == nil {
				response, err = c.Next([]byte(challenge))
			}
		}
		if (err == nil) != tt.ok || conv.Valid() != tt.ok || (done(c) == nil) != tt.ok {
			t.Errorf("%s: %v, valid %v", name, err, conv.Valid())
		}
	}
}

// scramFinal runs an exchange up to the client's last message, and lets edit
// change it.
func scramFinal(t *testing.T, w *scramWorld, m sasl.Mechanism, b sasl.SCRAMBinding, edit func(string) string) (sasl.Server, string, error) {
	t.Helper()
	s, c := m.New(w.x), sasl.NewSCRAMClient("tim", "newsecret", b)
	_, first, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	challenge, _, err := s.Next(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	final, err := c.Next(challenge)
	if err != nil {
		t.Fatal(err)
	}
	msg := edit(string(final))
	got, in, err := s.Next(t.Context(), []byte(msg))
	if in || err != nil && got != nil {
		t.Fatalf("%q: %v, %q, %v", msg, in, got, err)
	}
	return s, msg, err
}

// TestSCRAMTampering: AU-17, AU-18 and AU-20. Each message is answered at once.
func TestSCRAMTampering(t *testing.T) {
	t.Parallel()
	b64 := base64.StdEncoding.EncodeToString
	proof := func(change func([]byte) []byte) func(string) string {
		return func(s string) string {
			head, p, _ := strings.Cut(s, ",p=")
			raw, _ := base64.StdEncoding.DecodeString(p)
			return head + ",p=" + b64(change(raw))
		}
	}
	replace := func(a, b string) func(string) string {
		return func(s string) string { return strings.Replace(s, a, b, 1) }
	}
	var other string
	scramFinal(t, newSCRAMWorld(), sasl.SCRAMSHA256, sasl.SCRAMBinding{}, func(s string) string { other = s; return s })
	for name, tt := range map[string]struct {
		edit func(string) string
		err  error
	}{
		"as it is":             {func(s string) string { return s }, nil},
		"extension":            {replace(",p=", ",x=y,p="), errWrong}, // it is part of what is proven
		"proof bit":            {proof(func(p []byte) []byte { p[31] ^= 1; return p }), errWrong},
		"short proof":          {proof(func(p []byte) []byte { return p[:31] }), sasl.ErrMalformed},
		"long proof":           {proof(func(p []byte) []byte { return append(p, 0) }), sasl.ErrMalformed},
		"empty proof":          {proof(func([]byte) []byte { return nil }), sasl.ErrMalformed},
		"no proof":             {func(s string) string { head, _, _ := strings.Cut(s, ",p="); return head }, sasl.ErrMalformed},
		"proof not last":       {func(s string) string { return s + ",x=y" }, sasl.ErrMalformed},
		"proof not base64":     {func(s string) string { return s[:len(s)-1] }, sasl.ErrMalformed},
		"line end in base64":   {func(s string) string { return s[:len(s)-2] + "\r\n" + s[len(s)-2:] }, sasl.ErrMalformed},
		"nonce changed":        {replace(",r=", ",r=x"), errWrong},
		"nonce truncated":      {replace(",p=", "\x00,p="), sasl.ErrMalformed},
		"nonce shorter":        {func(s string) string { i := strings.Index(s, ",p="); return s[:i-1] + s[i:] }, errWrong},
		"nonce empty":          {func(s string) string { _, p, _ := strings.Cut(s, ",p="); return "c=biws,r=,p=" + p }, sasl.ErrMalformed},
		"replayed":             {func(string) string { return other }, errWrong},
		"gs2 header changed":   {replace("c=biws", "c="+b64([]byte("y,,"))), sasl.ErrBinding},
		"gs2 authzid added":    {replace("c=biws", "c="+b64([]byte("n,a=root,"))), sasl.ErrBinding},
		"gs2 header empty":     {replace("c=biws", "c="), sasl.ErrMalformed},
		"gs2 header no base64": {replace("c=biws", "c=biw"), sasl.ErrMalformed},
		"binding added":        {replace("c=biws", "c="+b64([]byte("p=tls-exporter,,"+string(bindingData)))), sasl.ErrBinding},
		"m extension":          {replace(",p=", ",m=x,p="), sasl.ErrMalformed},
		"second nonce":         {replace(",p=", ",r=x,p="), sasl.ErrMalformed},
		"other order": {func(s string) string {
			c, rest, _ := strings.Cut(s, ",")
			r, p, _ := strings.Cut(rest, ",")
			return r + "," + c + "," + p
		}, sasl.ErrMalformed},
		"empty attribute": {replace(",p=", ",,p="), sasl.ErrMalformed},
		"empty":           {func(string) string { return "" }, sasl.ErrMalformed},
		"junk":            {func(string) string { return "p=,p=,p=" }, sasl.ErrMalformed},
	} {
		w := newSCRAMWorld()
		s, msg, err := scramFinal(t, w, sasl.SCRAMSHA256, sasl.SCRAMBinding{}, tt.edit)
		if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
			t.Errorf("%s: %q: %v, want %v", name, msg, err, tt.err)
		}
		if asked := errors.Is(tt.err, errWrong) || tt.err == nil; asked != (len(w.proofs) == 1) || asked && (w.proofs[0].Key >= 0) != (tt.err == nil) {
			t.Errorf("%s: judged %+v", name, w.proofs)
		}
		if _, in, again := s.Next(t.Context(), []byte(msg)); in || again == nil {
			t.Errorf("%s: sent again: %v, %v", name, in, again)
		}
	}
	for _, b := range []sasl.SCRAMBinding{{Name: "tls-exporter", Data: bindingData[:31]}, {Name: "tls-exporter", Data: bytes.Repeat([]byte{1}, 32)}} {
		if _, _, err := scramFinal(t, newSCRAMWorld(), sasl.SCRAMSHA256Plus, b, func(s string) string { return s }); !errors.Is(err, sasl.ErrBinding) {
			t.Errorf("AU-20: %v", err)
		}
	}
}

// TestSCRAMFirst: AU-17 and AU-20 in the client's first message.
func TestSCRAMFirst(t *testing.T) {
	t.Parallel()
	for in, tt := range map[string]struct {
		err  error
		user string
	}{
		"n,,n=tim,r=abc":                              {nil, "tim"},
		"n,,n=tim,r=abc,x=any=thing":                  {nil, "tim"},
		"n,a=tim,n=tim,r=abc":                         {nil, "tim"},
		"n,,n=a=2Cb=3Dc,r=abc":                        {nil, "a,b=c"},
		"n,,n=caf\u00e9,r=abc":                        {nil, "caf\u00e9"},
		"n,,n=cafe\u0301,r=abc":                       {nil, "caf\u00e9"}, // AU-30
		"n,,n=a\u00a0b,r=abc":                         {nil, "a b"},
		"n,a=cafe\u0301,n=caf\u00e9,r=abc":            {nil, "caf\u00e9"},
		"n,,n=a\u202eb,r=abc":                         {sasl.ErrProhibited, ""},
		"n,,n=\u05d0a,r=abc":                          {sasl.ErrProhibited, ""},
		"n,a=kurt,n=tim,r=abc":                        {sasl.ErrAuthzid, ""},
		"y,,n=tim,r=abc":                              {sasl.ErrBinding, ""},
		"p=tls-exporter,,n=tim,r=abc":                 {sasl.ErrBinding, ""},
		"p=,,n=tim,r=abc":                             {sasl.ErrMalformed, ""},
		"p=a b,,n=tim,r=abc":                          {sasl.ErrMalformed, ""},
		"p,,n=tim,r=abc":                              {sasl.ErrMalformed, ""},
		"F,n,,n=tim,r=abc":                            {sasl.ErrMalformed, ""},
		"x,,n=tim,r=abc":                              {sasl.ErrMalformed, ""},
		"N,,n=tim,r=abc":                              {sasl.ErrMalformed, ""},
		"n,tim,n=tim,r=abc":                           {sasl.ErrMalformed, ""},
		"n,a=,n=tim,r=abc":                            {sasl.ErrMalformed, ""},
		"n,,m=x,n=tim,r=abc":                          {sasl.ErrMalformed, ""},
		"n,,n=tim,r=abc,m=x":                          {sasl.ErrMalformed, ""},
		"n,,n=tim,r=abc,n=kurt":                       {sasl.ErrMalformed, ""},
		"n,,n=tim,r=abc,":                             {sasl.ErrMalformed, ""},
		"n,,n=tim,r=abc,x":                            {sasl.ErrMalformed, ""},
		"n,,n=tim,r=abc,1=x":                          {sasl.ErrMalformed, ""},
		"n,,r=abc,n=tim":                              {sasl.ErrMalformed, ""},
		"n,,n=,r=abc":                                 {sasl.ErrMalformed, ""},
		"n,,n=tim,r=":                                 {sasl.ErrMalformed, ""},
		"n,,n=tim,r=a b":                              {sasl.ErrMalformed, ""},
		"n,,n=tim,r=a\u00e9":                          {sasl.ErrMalformed, ""},
		"n,,n=tim":                                    {sasl.ErrMalformed, ""},
		"n,,n=t=im,r=abc":                             {sasl.ErrMalformed, ""},
		"n,,n=tim=,r=abc":                             {sasl.ErrMalformed, ""},
		"n,,n=tim=2,r=abc":                            {sasl.ErrMalformed, ""},
		"n,,n=a=2cb,r=abc":                            {sasl.ErrMalformed, ""},
		"n,,n=a=00b,r=abc":                            {sasl.ErrMalformed, ""},
		"n,,n=a\x00b,r=abc":                           {sasl.ErrMalformed, ""},
		"n,,n=a\nb,r=abc":                             {sasl.ErrMalformed, ""},
		"n,,n=\xff,r=abc":                             {sasl.ErrMalformed, ""},
		"n,,n=" + strings.Repeat("u", 321) + ",r=abc": {sasl.ErrMalformed, ""},
		"n,,n=tim,r=" + strings.Repeat("x", 1025):     {sasl.ErrMalformed, ""},
		"n,,": {sasl.ErrMalformed, ""}, "n,": {sasl.ErrMalformed, ""}, "n": {sasl.ErrMalformed, ""}, "": {sasl.ErrMalformed, ""}, ",,,,": {sasl.ErrMalformed, ""},
	} {
		w := newSCRAMWorld()
		s := sasl.SCRAMSHA256.New(w.x)
		if ch, in, err := s.Next(t.Context(), nil); ch == nil || len(ch) > 0 || in || err != nil {
			t.Fatalf("first challenge %q, %v, %v", ch, in, err)
		}
		got, done, err := s.Next(t.Context(), []byte(in))
		if done || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) || (len(got) > 0) != (tt.err == nil) {
			t.Errorf("%q: %q, %v, %v; want %v", in, got, done, err, tt.err)
		}
		if want := []string{tt.user}; tt.err == nil && !slices.Equal(w.asked, want) || tt.err != nil && len(w.asked) > 0 || len(w.proofs) > 0 {
			t.Errorf("%q: asked about %q", in, w.asked)
		}
	}
	for _, in := range []string{"n,,n=tim,r=abc", "y,,n=tim,r=abc", "p=tls-unique,,n=tim,r=abc", "p=TLS-EXPORTER,,n=tim,r=abc"} { // AU-20, AU-21
		if _, _, err := sasl.SCRAMSHA256Plus.New(newSCRAMWorld().x).Next(t.Context(), []byte(in)); !errors.Is(err, sasl.ErrBinding) {
			t.Errorf("-PLUS with %q: %v", in, err)
		}
	}
}

// TestSCRAMNonce: AU-18: the server's part is fresh and has 144 bits.
func TestSCRAMNonce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		ch, _, err := sasl.SCRAMSHA256.New(newSCRAMWorld().x).Next(t.Context(), []byte("n,,n=tim,r=abc"))
		nonce, rest, _ := strings.Cut(string(ch), ",")
		if err != nil || !strings.HasPrefix(nonce, "r=abc") || len(nonce) != 5+24 || seen[nonce] || rest != "s="+base64.StdEncoding.EncodeToString(scramSalt)+",i=4096" {
			t.Fatalf("%q, %v", ch, err)
		}
		seen[nonce] = true
	}
}

// TestSCRAMUnfit: what the server must not do, even if the backend is wrong.
func TestSCRAMUnfit(t *testing.T) {
	t.Parallel()
	w := newSCRAMWorld()
	w.x.Proved = func(context.Context, sasl.Proof) error { return nil }
	if _, _, err := scramFinal(t, w, sasl.SCRAMSHA256, sasl.SCRAMBinding{}, func(s string) string { return strings.Replace(s, ",r=", ",r=x", 1) }); err == nil {
		t.Error("a wrong proof is let in")
	}
	w.x.SCRAM = func(context.Context, string) sasl.SCRAMUser { return sasl.SCRAMUser{} }
	if ch, _, err := sasl.SCRAMSHA256.New(w.x).Next(t.Context(), []byte("n,,n=tim,r=abc")); err == nil {
		t.Errorf("no salt: %q", ch)
	}
	// All-zero keys stand for none, and nothing fits them.
	w.x.SCRAM = func(context.Context, string) sasl.SCRAMUser {
		return sasl.SCRAMUser{Salt: scramSalt, Iterations: 4096, Keys: []sasl.SCRAMKeys{{}, {StoredKey: []byte{1}}}}
	}
	w.x.Proved = newSCRAMWorld().x.Proved
	if _, _, err := scramFinal(t, w, sasl.SCRAMSHA256, sasl.SCRAMBinding{}, func(s string) string { return s }); !errors.Is(err, errWrong) {
		t.Errorf("no keys: %v", err)
	}
}

// TestSCRAMClientDistrust: a client gives nothing to a server that cheats.
func TestSCRAMClientDistrust(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{
		"", "r=x,s=c2FsdA==,i=4096", "s=c2FsdA==,r=NONCEx,i=4096", "r=NONCE,s=c2FsdA==,i=4096", "r=NONCEx,s=,i=4096", "r=NONCEx,s=!,i=4096",
		"r=NONCEx,s=c2FsdA==,i=4095", "r=NONCEx,s=c2FsdA==,i=1", "r=NONCEx,s=c2FsdA==,i=100000000", "r=NONCEx,s=c2FsdA==,i=-1", "r=NONCEx,s=c2FsdA==,i=x",
		"m=x,r=NONCEx,s=c2FsdA==,i=4096", "r=NONCEx,s=c2FsdA==,i=4096,m=x", "e=other-error", "r=NONCEx,s=c2FsdA==",
	} {
		c := sasl.NewSCRAMClient("tim", "newsecret", sasl.SCRAMBinding{})
		_, first, err := c.Start()
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := strings.Cut(string(first), ",r=")
		if got, err := c.Next([]byte(strings.Replace(challenge, "NONCE", nonce, 1))); err == nil || done(c) == nil {
			t.Errorf("%q: %q", challenge, got)
		}
	}
	for _, last := range []string{"", "v=", "v=AAAA", "e=invalid-proof", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "x"} {
		w := newSCRAMWorld()
		s, c := sasl.SCRAMSHA256.New(w.x), sasl.NewSCRAMClient("tim", "newsecret", sasl.SCRAMBinding{})
		_, msg, _ := c.Start()
		challenge, _, _ := s.Next(t.Context(), msg)
		if _, err := c.Next(challenge); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next([]byte(last)); err == nil || done(c) == nil {
			t.Errorf("server's proof %q is believed", last)
		}
	}
	for _, user := range []string{"", "a\x00b", "\u202e"} {
		if _, _, err := sasl.NewSCRAMClient(user, "x", sasl.SCRAMBinding{}).Start(); err == nil {
			t.Errorf("user %q is sent", user)
		}
	}
}

func FuzzSCRAM(f *testing.F) {
	f.Add([]byte("n,,n=tim,r=abc"), []byte("c=biws,r=abc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	f.Add([]byte("p=tls-exporter,a=tim,n=tim,r=abc,x=y"), []byte("c=cD10bHMtZXhwb3J0ZXIs,r=,x=y,p="))
	f.Fuzz(func(t *testing.T, first, final []byte) {
		for _, m := range []sasl.Mechanism{sasl.SCRAMSHA256, sasl.SCRAMSHA256Plus} {
			w := newSCRAMWorld()
			s := m.New(w.x)
			challenge, in, err := s.Next(t.Context(), first)
			if in || (err == nil) != (len(challenge) > 0) {
				t.Fatalf("%q: %q, %v, %v", first, challenge, in, err)
			}
			if err == nil { // with the server's nonce, so that the proof is looked at
				nonce, _, _ := strings.Cut(strings.TrimPrefix(string(challenge), "r="), ",")
				final = bytes.Replace(final, []byte("r=abc"), []byte("r="+nonce), 1)
			}
			if got, in, err := s.Next(t.Context(), final); in || err == nil {
				t.Fatalf("%q, %q: %q, %v", first, final, got, in)
			}
			for _, p := range w.proofs {
				if p.Key != -1 || p.User == "" || len(p.User) > sasl.MaxIdentity || p.Authzid != "" && p.Authzid != p.User {
					t.Fatalf("%q, %q: %+v", first, final, p)
				}
			}
		}
	})
}
