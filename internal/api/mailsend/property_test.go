package mailsend

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Generators of what a client may send. Names and subjects hold what a header has
// to encode, quote or fold; contents and files hold anything.
var (
	headerRunes = []rune(` abcXYZ019.,;:<>()@"\'=?_-/%äéß中文🙂` + "\t\u00a0\u200d\u202e")
	textRunes   = append(slices.Clone(headerRunes), '\n', '\r', '\x00', '\x7f', '.', '-')
	genHeader   = rapid.StringOfN(rapid.RuneFrom(headerRunes), 1, 200, 1000)
	genText     = rapid.StringOfN(rapid.RuneFrom(textRunes), 1, 2000, -1)
	genFile     = rapid.SliceOfN(rapid.Byte(), 1, 3000)
	genLocal    = rapid.StringMatching(`[a-z0-9!#$%&'*+/=^_{|}~-]{1,20}(\.[a-z0-9]{1,5})?|ü[a-z]{1,5}|"[a-z.@(<>,]{1,10}"`)
	genDomain   = rapid.SampledFrom([]string{"a.test", "xn--bcher-kva.test", "a-very-long-name-of-a-domain-that-takes-most-of-a-line.of.the.header.test"})
	genToken    = rapid.StringMatching(`(application|image|text)/[a-z0-9.+-]{1,20}`)
)

func genEmail(t *rapid.T, label string) string {
	return genLocal.Draw(t, label+" local") + "@" + genDomain.Draw(t, label+" domain")
}

func genBoxes(t *rapid.T, label string, least int, used map[string]bool) (given []object, want []box) {
	for range rapid.IntRange(least, 5).Draw(t, label+" count") {
		email := genEmail(t, label)
		key := strings.ReplaceAll(email, `"`, "") // quoting makes no other mailbox
		if used[key] {
			continue
		}
		used[key] = true
		name := ""
		if rapid.Bool().Draw(t, label+" named") {
			name = genHeader.Draw(t, label+" name")
		}
		if strings.ContainsAny(name, ",;") || strings.HasPrefix(name, `"`) {
			name = ""
		}
		given = append(given, object{"email": email, "name": name})
		want = append(want, box{name, email})
	}
	return given, want
}

// loose is a list as readers show it: how much white space stands between words
// is lost in folding and in some encodings, and readers unquote local parts.
func loose(list []box) []box {
	var out []box
	for _, b := range list {
		out = append(out, box{flat(b.Name), strings.ReplaceAll(b.Email, `"`, "")})
	}
	return out
}

// TestPropertyReadBack: whatever a request holds, another reader finds each text
// where it was given, and nothing else.
func TestPropertyReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		used := map[string]bool{}
		to, wantTo := genBoxes(t, "to", 1, used)
		cc, wantCC := genBoxes(t, "cc", 0, used)
		bcc, _ := genBoxes(t, "bcc", 0, used)
		from := box{genHeader.Draw(t, "from name"), genEmail(t, "from")}
		subject, header := genHeader.Draw(t, "subject"), genHeader.Draw(t, "header")
		if strings.HasPrefix(from.Name, `"`) {
			from.Name = ""
		}
		o := object{"from": object{"email": from.Email, "name": from.Name}, "subject": subject, "headers": object{"X-Given": header}}
		p := object{"to": to}
		if len(cc) > 0 {
			p["cc"] = cc
		}
		if len(bcc) > 0 {
			p["bcc"] = bcc
		}
		o["personalizations"] = []object{p}

		var contents []object
		var want seen
		for i, kind := range []string{"text/plain", "text/html", genToken.Draw(t, "third type")} {
			if i < 2 && !rapid.Bool().Draw(t, kind) || kind == "text/plain" && i == 2 || kind == "text/html" && i == 2 {
				continue
			}
			text := genText.Draw(t, "content")
			contents = append(contents, object{"type": kind, "value": text})
			if strings.HasPrefix(kind, "text/") {
				text = wireLines(text)
			}
			want.Contents = append(want.Contents, leaf{Type: kind, Body: text})
		}
		if len(contents) == 0 {
			contents = []object{{"type": "text/plain", "value": "x"}}
			want.Contents = []leaf{{Type: "text/plain", Body: "x\r\n"}}
		}
		o["content"] = contents
		var files []object
		for range rapid.IntRange(0, 3).Draw(t, "files") {
			body := string(genFile.Draw(t, "file"))
			l := leaf{Type: genToken.Draw(t, "file type"), Name: genHeader.Draw(t, "file name"), Disposition: "attachment", Body: body}
			l.Name = l.Name[strings.LastIndexAny(l.Name, `/\`)+1:]
			if strings.TrimSpace(l.Name) == "" {
				l.Name = "x"
			}
			f := object{"content": b64(body), "filename": l.Name, "type": l.Type}
			if rapid.Bool().Draw(t, "inline") {
				f["disposition"], f["content_id"], l.Disposition = "inline", "id", "inline"
				l.ContentID = "<id>"
				want.Related = append(want.Related, l)
			} else {
				want.Mixed = append(want.Mixed, l)
			}
			files = append(files, f)
		}
		if len(files) > 0 {
			o["attachments"] = files
		}

		tb := &quiet{TB: nil, t: t}
		r, err := Parse(toJSON(tb, o), Options{Now: now})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		raw := composed(tb, r, 0)
		got := readBack(tb, raw)
		if diff := cmp.Diff(loose([]box{from}), loose(got.From)); diff != "" {
			t.Errorf("From: %s\n%q", diff, raw[:min(len(raw), 800)])
		}
		if diff := cmp.Diff(loose(wantTo), loose(got.To)); diff != "" {
			t.Errorf("To: %s", diff)
		}
		if diff := cmp.Diff(loose(wantCC), loose(got.Cc)); diff != "" {
			t.Errorf("Cc: %s", diff)
		}
		if flat(got.Subject) != flat(subject) || flat(got.Headers["X-Given"]) != flat(header) && !strings.Contains(header, "=?") {
			t.Errorf("subject %q, read %q; header %q, read %q", subject, got.Subject, header, got.Headers["X-Given"])
		}
		if diff := cmp.Diff(want.Contents, got.Contents); diff != "" {
			t.Errorf("contents: %s", diff)
		}
		if diff := cmp.Diff(want.Related, got.Related); diff != "" {
			t.Errorf("related: %s", diff)
		}
		if diff := cmp.Diff(want.Mixed, got.Mixed); diff != "" {
			t.Errorf("mixed: %s", diff)
		}
	})
}

func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

// quiet lets the helpers of this package fail a rapid check.
type quiet struct {
	testing.TB
	t *rapid.T
}

func (q *quiet) Helper()                      {}
func (q *quiet) Fatal(args ...any)            { q.t.Fatal(args...) }
func (q *quiet) Fatalf(f string, args ...any) { q.t.Fatalf(f, args...) }
func (q *quiet) Errorf(f string, args ...any) { q.t.Errorf(f, args...) }
func (q *quiet) Error(args ...any)            { q.t.Error(args...) }
