package submit

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"testing"

	gomail "github.com/emersion/go-message/mail"

	"postern/internal/relay"
)

// pieces is what hostile sender fields are put together from: %M is an address
// that the tenant may use, %E another tenant's.
var pieces = []string{
	"<", ">", `"`, "(", ")", ",", ";", ":", `\`, "@", " ", "\r\n ", "\t", "%M", "%M", "%M", "%E", "%E", "<%M>", "<%M>", "<%M>", "<%E>", `"%E"`, `"<%E>"`,
	"(%E)", "(<%E>)", `"\"`, `\""`, `"a\\"`, `\(`, "((", "))", "<<", ">>", "<>", "=?utf-8?q?=3C%E=3E?=", "=?utf-8?q?a=0D=0AFrom:_%E?=", "me", ".", "[", "]", "%%", "!",
	"\x00", "\x01", "\x7f", "\v", "\f", "\r", "\n", "\uff20", "\u3002", "\u00ad", "\u200d", "\u2028", "\u0085", "\u202e", "é", "\xe9", "Group:", "<@e.test:", "=?", "?=", "'",
}

// oddFields stand beside an honest From.
var oddFields = []string{
	"From : %E", "From\t: %E", "From\x00: %E", " From: %E", "X:\r\nFrom: %E", "X: \rFrom: %E", "X: \nFrom: %E", "from:%E", "Sender: %E", "Sender: %V", "Resent-From: %V",
	"Resent-Sender: %V", "Resent-From: %M, %E", "X-SMTPAPI: {}\r\nFrom: %E", "Bcc: x\r\nFROM: %E", "\ufeffFrom: %E", "From\u200b: %E", ">From: %E", "From %E Mon", "\vFrom: %E",
	"X: a\vFrom: %E", "X: a\x1cFrom: %E", "X: a\u0085From: %E", "X\r\nFrom: %E", "Content-Type: message/rfc822\r\n\r\nFrom: %E", "Reply-To: %E", "X: \x85From: %E", "Sender:", "From:",
}

// hostile makes the seed's message of a tenant.
func hostile(seed uint64, mine, other string) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	value := func() string {
		var b strings.Builder
		for range r.IntN(6) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		if r.IntN(2) == 0 {
			b.WriteString([]string{" %M", "<%M>", " <%M>", "\r\n <%M>"}[r.IntN(4)])
		}
		for range r.IntN(3) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		return b.String()
	}
	lines := []string{"To: b@one.test", "Subject: s", "X-Folded: a\r\n\tb"}
	from := "From: %M"
	if r.IntN(4) > 0 {
		from = []string{"From", "FROM", "fRom"}[r.IntN(3)] + ":" + []string{" ", "", "\t", "\r\n "}[r.IntN(4)] + value()
	} else {
		lines = append(lines, strings.ReplaceAll(oddFields[r.IntN(len(oddFields))], "%V", value()))
	}
	lines = append(lines, from)
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	text := strings.Join(lines, "\r\n") + "\r\n\r\nbody\r\n"
	return []byte(strings.NewReplacer("%M", mine, "%E", other, "%%", "%").Replace(text))
}

// Whatever a tenant writes where the sender stands, once it is taken no reader
// shows it as a domain that the tenant does not own.
func TestNoReaderSeesAnotherSender(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const workers = 16
	variants := uint64(12000)
	if testing.Short() { // under the race detector each takes twenty times as long
		variants = 1600
	}
	var mu sync.Mutex
	accepted := 0
	var wg sync.WaitGroup
	for worker := range uint64(workers) {
		wg.Go(func() {
			for seed := worker; seed < variants; seed += workers {
				tenant, mine, other := acme, "me@acme.test", "ceo@globex.test"
				if seed%2 == 1 {
					tenant, mine, other = globex, other, mine
				}
				raw := hostile(seed, mine, other)
				env := envelope("b@one.test")
				env.SMTPUTF8 = seed%3 == 0
				p := &relay.Principal{Tenant: relay.Tenant{Account: tenant}, Key: &relay.Key{Account: tenant, Mode: relay.KeyTest}}
				in, err := w.service.Begin(t.Context(), p, env)
				if err != nil {
					t.Error(err)
					return
				}
				in.Write(t.Context(), raw)
				d, err := in.judge() // what will leave, for Commit tells only whether
				if err == nil {
					raw = d.bytes()
				}
				if commit := in.Commit(t.Context(), p); (err == nil) != (commit == nil) {
					t.Errorf("seed %d: judged %v, committed %v", seed, err, commit)
				}
				if err != nil {
					continue
				}
				mu.Lock()
				accepted++
				mu.Unlock()
				for reader, shown := range readers(raw) {
					for _, a := range shown {
						if _, domain, _ := cutLast(a, "@"); !strings.EqualFold(domain, strings.SplitN(mine, "@", 2)[1]) {
							t.Errorf("seed %d: %s shows %q of\n%q", seed, reader, shown, raw)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	if uint64(accepted) < variants/20 {
		t.Errorf("%d of %d accepted: the generator tests nothing", accepted, variants)
	}
	t.Logf("%d of %d accepted", accepted, variants)
}

func cutLast(s, sep string) (string, string, bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// readers is what programs that read mail take for the sender. One that cannot
// read the field shows nothing.
func readers(raw []byte) map[string][]string {
	out := map[string][]string{}
	if m, err := mail.ReadMessage(bytes.NewReader(raw)); err == nil {
		for _, v := range append(append(m.Header["From"], m.Header["Sender"]...), m.Header["Resent-From"]...) {
			list, _ := mail.ParseAddressList(v)
			for _, a := range list {
				out["net/mail"] = append(out["net/mail"], a.Address)
			}
		}
	}
	if r, err := gomail.CreateReader(bytes.NewReader(raw)); err == nil {
		for _, name := range []string{"From", "Sender", "Resent-From"} {
			list, _ := r.Header.AddressList(name)
			for _, a := range list {
				out["go-message"] = append(out["go-message"], a.Address)
			}
		}
		r.Close()
	}
	for _, v := range lenientFrom(raw) {
		out["last brackets"] = append(out["last brackets"], lastAngle(v))
		out["brackets outside quotes"] = append(out["brackets outside quotes"], lastAngle(reQuoted.ReplaceAllString(v, "")))
		out["first brackets, escapes unknown"] = append(out["first brackets, escapes unknown"], firstAngle(reNaive.ReplaceAllString(v, "")))
	}
	return out
}

var (
	reQuoted  = regexp.MustCompile(`"(?:\\.|[^"\\])*"`)
	reNaive   = regexp.MustCompile(`"[^"]*"`)
	reAngle   = regexp.MustCompile(`<([^<>]*@[^<>]*)>`)
	reComment = regexp.MustCompile(`\((?:\\.|[^()\\])*\)`)
)

// lenientFrom is every From field that a careless reader finds: any line end,
// blanks before the colon, any octet that some runtime takes for a line end.
func lenientFrom(raw []byte) []string {
	head, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	var out []string
	s := bufio.NewScanner(strings.NewReader(strings.NewReplacer("\r\n ", " ", "\r\n\t", " ", "\r\n", "\n", "\r", "\n").Replace(string(head))))
	for s.Scan() {
		name, value, ok := strings.Cut(s.Text(), ":")
		if ok && strings.EqualFold(strings.TrimSpace(name), "from") {
			out = append(out, value)
		}
	}
	return out
}

func lastAngle(v string) string {
	if all := reAngle.FindAllStringSubmatch(v, -1); len(all) > 0 {
		return strings.TrimSpace(all[len(all)-1][1])
	}
	return bare(v)
}

func firstAngle(v string) string {
	if all := reAngle.FindAllStringSubmatch(v, -1); len(all) > 0 {
		return strings.TrimSpace(all[0][1])
	}
	return bare(v)
}

// bare is what is left when comments go, innermost first.
func bare(v string) string {
	for {
		next := reComment.ReplaceAllString(v, "")
		if next == v {
			return strings.TrimSpace(v)
		}
		v = next
	}
}

// Unusual but honest forms are taken: a false refusal is a defect, too.
func TestHonestFormsAreTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const m = "me@acme.test"
	names := []string{
		"", "Me", "Me Me", `"Me, Inc."`, "Me Q. Public", "O'Neil", "Me-Me", `""`, `"Me \"M\" Me"`, `"Me \\ Me"`, "=?utf-8?q?J=C3=B6rg?=", "=?UTF-8?B?SsO2cmc=?=",
		"=?iso-8859-1?Q?J=F6rg?= Me", "=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "Me (c)", "(pre) Me", "Me (a (nested) b)", `"me@acme.test"`, `"Me @ Acme"`, `"Me [x]"`, "A. B. C.", "...", "Me!", "Me & You",
		"Me/You", "#1 Me", "100% Me", "Me | You", "{Me}", "Me * $ ? ^ ~ =", "Me\r\n\tMe", `"Me` + "\r\n Me\"", "=?utf-8*en?Q?Me?=", "=?x-unknown?Q?Me?=", "=?utf-8?X?Me?=", strings.Repeat("Me ", 300),
		`"` + strings.Repeat("x", 900) + `"`, `"Ann via List"`, "J\u00f6rg", `"<3 Me"`, "(<3) Me", `"\"<3\" Me"`, "Me\t",
	}
	after := []string{"", " ", " (c)", "\r\n (c)", "\t", " (a) (b)"}
	n := 0
	for _, name := range names {
		for _, tail := range after {
			n++
			raw := fmt.Sprintf("From: %s <%s>%s\r\n\r\nx\r\n", name, m, tail)
			if _, err := w.send(envelope("b@one.test"), raw, len(raw)); err != nil {
				t.Errorf("%q: %v", raw, err)
			}
		}
	}
	for _, local := range []string{"a.b", "a+tag", "o'neil", `"a b"`, `"a@b"`, `"a\"b"`, "a!b", "a%b", "{a}", "a/b=c", "_", "-a-", "1", strings.Repeat("a", 64)} {
		n++
		if _, err := w.send(envelope("b@one.test"), "From: "+local+"@ACME.test\r\n\r\nx\r\n", 7); err != nil {
			t.Errorf("%s: %v", local, err)
		}
	}
	if n < 200 {
		t.Errorf("%d forms", n)
	}
}
