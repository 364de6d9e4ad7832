package console

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/relay"
)

// keyPage shows one key.
type keyPage struct {
	Notices []notice
	Buttons []button
	Next    []link
	Is      facts
	Use     facts
	Places  table
	Users   table
	Test    form
}

// keyUsersView is who used a key.
type keyUsersView struct {
	Users []struct {
		Addr      string    `json:"addr"`
		Helo      string    `json:"helo"`
		Mechanism string    `json:"mechanism"`
		TLS       string    `json:"tls"`
		First     time.Time `json:"first_at"`
		Last      time.Time `json:"last_at"`
		Logins    int64     `json:"logins"`
		Place     string    `json:"place"`
	} `json:"users"`
	Messages int64 `json:"messages"`
}

// table lists a key's users.
func (u *keyUsersView) table(v *desk, caption, empty string) table {
	t := table{ID: "users", Caption: caption, Head: []string{"From", "Country", "By", "TLS", "First", "Last", "Logins"}, Empty: empty}
	for _, x := range u.Users {
		from := words(x.Addr)
		if v.May("GET", "/v3/logins") && x.Addr != "" {
			from = to(x.Addr, query(v.path("/logins"), "addr", x.Addr))
		}
		from.Note = x.Helo
		t.Rows = append(t.Rows, row{Cells: []cell{from, words(x.Place), words(x.Mechanism), tlsCell(x.TLS), v.at(x.First), v.at(x.Last), number(x.Logins)}})
	}
	if len(t.Rows) > 0 {
		t.slim() // without a file of places there are no countries
	}
	return t
}

// places are the countries from which a key is used, the most frequent first; none
// where the operator has given no file of places.
func (u *keyUsersView) places(v *desk, key, span string) table {
	of := map[string]int64{}
	for _, x := range u.Users {
		of[x.Place] += x.Logins
	}
	if len(of) == 0 || len(of) == 1 && of[""] > 0 {
		return table{}
	}
	var list []nameCount
	for _, name := range slices.Sorted(mapKeys(of)) {
		list = append(list, nameCount{orNone(name, "unknown"), of[name]})
	}
	slices.SortStableFunc(list, func(a, b nameCount) int { return cmp.Compare(b.Count, a.Count) })
	t := barTable("places", "From where it was used in "+span+", by country", list)
	for i, n := range list {
		if n.Name == "unknown" {
			t.Rows[i].Cells[0].Text = "in no country that is known"
		}
		if v.May("GET", apiLogins) {
			t.Rows[i].Cells[0].Href = query(v.path("/logins"), "key", key, "place", n.Name)
		}
	}
	return t
}

// key is the one of the path, a revoked one too: what it did is still to be read. What
// cannot be done to it is barred.
func (v *desk) key() (k apiKeyView, err error) {
	k, err = ask[apiKeyView](v, query(under(apiKeys, v.id("key")), "revoked", "true"))
	if err == nil {
		v.barKey(&k)
		err = v.unbarred(v.page.Needs...)
	}
	return k, err
}

// barKey bars what cannot be done to a key.
func (v *desk) barKey(k *apiKeyView) {
	change, rotate, remove, test := "PATCH "+apiKey, "POST "+apiKey+"/rotate", "DELETE "+apiKey, "POST "+apiKey+"/test"
	on, off := "POST "+apiKey+"/enable", "POST "+apiKey+"/disable"
	if !k.RevokedAt.IsZero() {
		v.bar(notice{Tone: toneInfo, Title: "This key was revoked.", Text: "It never works again. A program that needs it needs a new key."}, change, rotate, remove, test, on, off)
		return
	}
	if k.above(v.rank()) {
		v.bar(k.keptOff("it", "switch it on again"), on)
	}
	if !v.holds(k.Scopes) { // whoever rotates a key holds it afterwards
		needs, text := []string{rotate}, "Rotating it takes all rights that it has: ask somebody who has them."
		if !k.DisabledAt.IsZero() && !k.above(v.rank()) {
			needs, text = append(needs, on), "Rotating it, or switching it on again, takes all rights that it has: ask somebody who has them."
		}
		v.bar(notice{Tone: toneInfo, Title: "This key may do more than you.", Text: text}, needs...)
	}
	if k.Kind == string(relay.KeyCertificate) || k.Kind == string(relay.KeyFederated) {
		v.bar(notice{}, rotate) // its proof is made elsewhere
	}
	if !k.sends(v.Now) || !v.holds([]string{relay.ScopeMailSend}) {
		v.bar(notice{}, test)
	}
}

// sends reports whether a key can send at all.
func (k *apiKeyView) sends(now time.Time) bool {
	return k.DisabledAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt)) && !k.Canary && slices.Contains(k.Scopes, relay.ScopeMailSend)
}

func showKey(v *desk) error { return v.showKey(http.StatusOK, form{}) }

// showKey shows the key of the path; test is its form for a test message, if it
// was filled in.
func (v *desk) showKey(status int, test form) error {
	k, err := v.key()
	if err != nil {
		return err
	}
	span, days, advice := "the last 30 days", "", " If no program needs it, revoke it."
	if !k.RevokedAt.IsZero() { // it is past: as far back as there are logins
		span, days, advice = "the last 400 days", "400", ""
	}
	users := askIf[keyUsersView](v, apiKey+"/users", query(under(apiKeys, v.id("key"), "users"), "revoked", "true", "days", days))
	p := keyPage{
		Is: keyFacts(v, &k), Use: keyUse(v, &k), Test: test,
		Users: users.table(v, "Who used it in "+span, "Nobody used it in "+span+"."+advice),
	}
	if p.Test.Name == "" {
		p.Test = testForm(v, &k)
	}
	p.Places = users.places(v, k.ID, span)
	here := v.path("/keys", k.ID)
	p.Next = slices.Concat(
		v.linkAt("Change it", here+"/edit", "PATCH", apiKey), v.linkAt("Rotate it", here+"/rotate", "POST", apiKey+"/rotate"),
		v.linkAt("Revoke it", here+"/revoke", "DELETE", apiKey), v.linkAt("Its logins", query(v.path("/logins"), "key", k.ID), "GET", "/v3/logins"),
		v.linkAt("Its mail", query(v.path("/mail"), "key", k.ID), "GET", "/v3/messages"), v.changesOf("key "+k.ID))
	if k.Mode == string(relay.KeyHold) {
		p.Next = append(p.Next, v.linkAt("Its held mail", query(v.path("/mail"), "key", k.ID, "state", "held"), "GET", "/v3/messages")...)
	}
	if k.DisabledAt.IsZero() {
		p.Buttons = v.do(button{Text: "Switch it off", Action: here + "/disable"}, "POST", apiKey+"/disable")
	} else {
		p.Buttons = v.do(button{Text: "Switch it on", Action: here + "/enable"}, "POST", apiKey+"/enable")
	}
	p.Notices = append(v.whyNot(), keyNotices(v, &k)...)
	return v.Render(status, "page_key", k.Name, p)
}

func keyFacts(v *desk, k *apiKeyView) facts {
	var f facts
	f.add("State", cell{Badges: []badge{k.state(v.Now)}})
	f.add("Kind", words(orNone(keyKinds[k.Kind], k.Kind)))
	f.add("Id", code(k.ID))
	f.add("User name", code(k.Login))
	f.add("Belongs to", words(k.Username))
	f.add("May", cell{Lines: scopeWords(k.Scopes)})
	narrowed := cell{Lines: k.limits()}
	if len(narrowed.Lines) == 0 {
		narrowed = tagged("works from anywhere, as everybody", toneWarn)
	}
	f.add("Narrowed to", narrowed)
	if k.CRAM {
		f.add("CRAM-MD5", tagged("allowed: weak", toneWarn))
	}
	f.add("Made", cell{Time: momentOf(v.Now, k.CreatedAt), Note: orNone(k.CreatedBy, "")})
	f.add("Rotated", v.at(k.RotatedAt))
	f.add("Ends", v.at(k.ExpiresAt))
	f.add("Switched off", v.at(k.DisabledAt))
	f.add("Revoked", cell{Time: momentOf(v.Now, k.RevokedAt), Note: v.revokedBy(k)})
	return f
}

// revokedBy is who revoked a key, as the record of changes has it; "" where the person may
// not read it, and for a key that is not revoked.
func (v *desk) revokedBy(k *apiKeyView) string {
	if k.RevokedAt.IsZero() {
		return ""
	}
	list := askIf[changeListView](v, apiChanges, query(apiChanges, "action", "key.revoke", "subject", "key "+k.ID, "newest", "true", "limit", "1"))
	if len(list.Result) == 0 {
		return ""
	}
	return "by " + whoWords(list.Result[0].By)
}

func keyUse(v *desk, k *apiKeyView) facts {
	f := facts{Title: "Use"}
	f.add("Last use", k.lastUse(v.Now))
	f.add("Logins", number(k.UseCount))
	if !k.PreviousUntil.IsZero() {
		f.add("Secret of before works until", v.at(k.PreviousUntil))
		last := words("nobody since the rotation")
		if !k.PreviousUsedAt.IsZero() {
			last = cell{Time: momentOf(v.Now, k.PreviousUsedAt), Note: placeWords(k.PreviousUsedFrom, k.PreviousUsedHelo, "")}
		}
		f.add("Who still uses it", last)
		if k.PreviousUseCount > 0 {
			f.add("Logins with it", number(k.PreviousUseCount))
		}
	}
	return f
}

func keyNotices(v *desk, k *apiKeyView) (out []notice) {
	switch {
	case !k.RevokedAt.IsZero(): // there is nothing to be done
	case !k.PreviousUntil.IsZero() && !k.PreviousUsedAt.IsZero():
		out = append(out, notice{Tone: toneWarn, Title: "A program still uses the secret of before the rotation.",
			Text: "It was last seen " + placeWords(k.PreviousUsedFrom, k.PreviousUsedHelo, "") + " " + momentOf(v.Now, k.PreviousUsedAt).Words +
				". Give it the new one before " + momentOf(v.Now, k.PreviousUntil).Human() + "."})
	case !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(v.Now.AddDate(0, 0, 14)) && k.ExpiresAt.After(v.Now):
		out = append(out, notice{Tone: toneWarn, Title: "This key ends soon.",
			Text: "Its programs cannot send after " + momentOf(v.Now, k.ExpiresAt).Human() + ". Give it a later last day, or put another key in its place. A rotation does not move that day; where the policy allows no later one, it comes first."})
	}
	return out
}

func testForm(v *desk, k *apiKeyView) form {
	from := ""
	if len(k.Senders) > 0 {
		from = fromOf(k.Senders[0])
	}
	return v.offer(form{
		Name: "test", Title: "Send a test message", Action: v.path("/keys", k.ID) + "/test", Do: "Send it", Folded: true,
		Lead: "It goes as this key would send it: all that narrows the key holds.",
		Fields: []field{
			{Name: "from", Label: "From", Kind: "email", Required: true, Value: from},
			{Name: "to", Label: "To", Kind: "email", Required: true},
		},
	}, "POST", apiKey+"/test")
}

func testKey(v *desk) error {
	k, err := v.key()
	if err != nil {
		return err
	}
	var sent struct {
		ID string `json:"message_id"`
	}
	err = v.Call("POST", under(apiKeys, v.id("key"), "test"), map[string]string{"from": v.sent("from"), "to": v.sent("to")}, &sent)
	if err == nil {
		if sent.ID != "" && v.May("GET", "/v3/messages/{msg_id}") {
			return v.Redirect(v.path("/mail", sent.ID), "The test message was accepted. This page shows its way.")
		}
		return v.Redirect(v.path("/keys", k.ID), "The test message was accepted.")
	}
	f, ok := v.refused(testForm(v, &k), err)
	if !ok {
		return err
	}
	return v.showKey(formStatus(true), f)
}

// keyEditPage changes a key.
type keyEditPage struct{ Form form }

func keyEditForm(v *desk, k *apiKeyView) form {
	fields := []field{{Name: "name", Label: "Name", Required: true, Value: k.Name}}
	fields = append(fields, scopeFields(k.Scopes, unite(v.Scopes(), k.Scopes))...)
	fields = append(fields, keyLimitFields(k)...)
	fields = append(fields, field{Name: "canary", Kind: "check", Label: "It is a decoy", On: k.Canary,
		Help: "It never works. Put it where only a thief looks: a try with it raises an alert."})
	return v.offer(form{Name: "edit-key", Action: v.path("/keys", k.ID) + "/edit", Fields: fields, Cancel: v.path("/keys", k.ID)}, "PATCH", apiKey)
}

// unite is both lists, sorted, each item once.
func unite(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

func showKeyEdit(v *desk) error {
	k, err := v.key()
	if err != nil {
		return err
	}
	return v.Render(http.StatusOK, "page_form", "Change "+k.Name, keyEditPage{keyEditForm(v, &k)})
}

// since are the members that differ from what a key is: the policy of the account judges
// what is given, and a key from before it can be renamed and narrowed. Its end is chosen
// as a day: who leaves the day leaves the hour.
func (k *keyChange) since(old *apiKeyView) map[string]any {
	body := map[string]any{"name": k.Name}
	for name, lists := range map[string][2][]string{
		"senders": {k.Senders, old.Senders}, "recipient_domains": {k.RecipientDomains, old.RecipientDomains}, "scopes": {sorted(k.Scopes), sorted(old.Scopes)},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			body[name] = lists[0]
		}
	}
	if !slices.Equal(k.Networks, old.Networks) || !slices.Equal(k.Hosts, old.Hosts) {
		body["networks"], body["hosts"] = k.Networks, k.Hosts
	}
	for name, of := range map[string][2]any{
		"per_hour": {k.PerHour, old.PerHour}, "per_day": {k.PerDay, old.PerDay}, "hours": {k.Hours, old.Hours}, "mode": {k.Mode, old.Mode}, "canary": {k.Canary, old.Canary},
	} {
		if of[0] != of[1] {
			body[name] = of[0]
		}
	}
	if day, _, _ := strings.Cut(k.ExpiresAt, "T"); day != dateOf(old.ExpiresAt) {
		body["expires_at"] = k.ExpiresAt
	}
	return body
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func editKey(v *desk) error {
	old, err := v.key()
	if err != nil {
		return err
	}
	k, err := v.sentKey()
	if err == nil {
		k.Scopes = v.sentScopes()
		err = k.heed(&keyTemplate{})
	}
	if err == nil {
		err = v.Call("PATCH", under(apiKeys, old.ID), k.since(&old), nil)
	}
	if err == nil {
		return v.Redirect(v.path("/keys", old.ID), "The key was changed.")
	}
	f, ok := v.refused(keyEditForm(v, &old), err)
	if !ok {
		return err
	}
	return v.Render(formStatus(true), "page_form", "Change "+old.Name, keyEditPage{f})
}

// keyRotatePage asks how a key is to be rotated; keyRevokePage whether it is to
// end. Both say who uses it.
type keyRotatePage struct {
	Notices []notice
	Form    form
	Users   table
}

func rotateForm(v *desk, k *apiKeyView) form {
	f := field{Name: "overlap_seconds", Label: "The old secret works on for", Kind: "select", Options: []option{
		{Value: "86400", Text: "a day", On: true}, {Value: "3600", Text: "an hour"}, {Value: "604800", Text: "a week"},
		{Value: "2592000", Text: "30 days"}, {Value: "0", Text: "no time: it ends now"},
	}, Help: "Long enough to change it in every program below. If the secret has leaked, end it now."}
	if k.PreviousUntil.After(v.Now) { // at most two secrets work at a time
		f.Options = f.Options[len(f.Options)-1:]
		f.Help = "The secret of before the last rotation works until " + momentOf(v.Now, k.PreviousUntil).Human() +
			". Until then a new one ends both that work now; afterwards the old one can work on for a while."
	}
	return v.offer(form{
		Name: "rotate", Action: v.path("/keys", k.ID) + "/rotate", Do: "Make a new secret", Cancel: v.path("/keys", k.ID), Fields: []field{f},
	}, "POST", apiKey+"/rotate")
}

func showKeyRotate(v *desk) error {
	k, err := v.key()
	if err != nil {
		return err
	}
	return v.showRotate(http.StatusOK, &k, rotateForm(v, &k))
}

func (v *desk) showRotate(status int, k *apiKeyView, f form) error {
	users := askIf[keyUsersView](v, apiKey+"/users", under(apiKeys, v.id("key"), "users"))
	p := keyRotatePage{Notices: keyNotices(v, k), Form: f, Users: users.table(v, "Who needs the new secret: uses of the last 30 days", "Nobody used it in the last 30 days.")}
	return v.Render(status, "page_key_rotate", "Rotate "+k.Name, p)
}

func rotateKey(v *desk) error {
	k, err := v.key()
	if err != nil {
		return err
	}
	seconds, err := v.sentNumber("overlap_seconds")
	var made struct {
		secretMade
		Until time.Time `json:"previous_valid_until"`
	}
	if err == nil {
		err = v.Call("POST", under(apiKeys, v.id("key"), "rotate"), map[string]int64{"overlap_seconds": seconds}, &made)
	}
	if err == nil {
		secret := secretMade{apiKeyView: k, APIKey: made.APIKey, Password: made.Password}
		return v.showSecret(&secret, "The key has a new secret", made.Until)
	}
	f, ok := v.refused(rotateForm(v, &k), err)
	if !ok {
		return err
	}
	return v.showRotate(formStatus(true), &k, f)
}

type keyRevokePage struct {
	Notice notice
	Button []button
	Users  table
	Back   link
}

func showKeyRevoke(v *desk) error {
	k, err := v.key()
	if err != nil {
		return err
	}
	var users keyUsersView
	if err := v.Call("DELETE", query(under(apiKeys, v.id("key")), "dry_run", "true"), nil, &users); err != nil {
		return err
	}
	p := keyRevokePage{
		Notice: notice{Tone: toneOK, Title: "Nobody would be cut off.", Text: "Nobody used this key in the last 30 days. It cannot be brought back."},
		Button: v.do(button{Text: "Revoke it for ever", Action: v.path("/keys", k.ID) + "/revoke", Tone: toneDanger}, "DELETE", apiKey),
		Users:  users.table(v, "Who would be cut off: uses of the last 30 days", ""),
		Back:   link{"Keep it", v.path("/keys", k.ID)},
	}
	if n := len(users.Users); n > 0 {
		p.Notice = notice{Tone: toneBad, Title: strconv.Itoa(n) + " would be cut off at once.",
			Text: "These used the key in the last 30 days, for " + things(users.Messages, "recipient") + ". It cannot be brought back. To change a secret without cutting anybody off, rotate the key."}
	}
	return v.Render(http.StatusOK, "page_key_revoke", "Revoke "+k.Name, p)
}

func revokeKey(v *desk) error {
	return v.change("DELETE", under(apiKeys, v.id("key")), nil, v.path("/keys"), "The key was revoked.")
}

func disableKey(v *desk) error {
	id := v.id("key")
	return v.change("POST", under(apiKeys, id, "disable"), nil, v.path("/keys", id), "The key is switched off.")
}

func enableKey(v *desk) error {
	id := v.id("key")
	return v.change("POST", under(apiKeys, id, "enable"), nil, v.path("/keys", id), "The key is switched on.")
}
