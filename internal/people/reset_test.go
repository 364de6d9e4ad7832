package people

import (
	"strings"
	"testing"
	"time"

	"postern/internal/relay"
)

// A stranger may ask for links for ever, every five minutes and from everywhere: the
// person gets a few a day, with the address that asked, and those that they ask for
// themselves, or that an admin has sent, all the same.
func TestResetsOfADay(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		u := w.withApp("ann")
		w.in("ann") // from home
		mailed := func() int { w.jobsDone(); return w.told(u.Email, "Set a new password") }
		evil := from(1)
		evil.Agent = "Visit https://evil.example now"
		for i := range 40 {
			evil.Addr = from(i).Addr
			if err := w.AskReset(ctx, evil, "ann"); err != nil {
				t.Fatal(err)
			}
			mailed()
			w.pass(resetEvery)
		}
		if n := mailed(); n != resetsPerDay[resetStranger] {
			t.Errorf("%d letters for strangers", n)
		}
		text := w.mails[len(w.mails)-1].text
		if !strings.Contains(text, "from the address 198.18.4.9, where you have not logged in before") || strings.Contains(text, "evil") {
			t.Errorf("letter:\n%s", text)
		}
		if err := w.AskReset(ctx, home, "ann"); err != nil || mailed() != 6 {
			t.Errorf("%d letters, the person's own is not among them (%v)", mailed(), err)
		}
		if text := w.mails[len(w.mails)-1].text; !strings.Contains(text, "192.0.2.7, where you have logged in before") {
			t.Errorf("letter:\n%s", text)
		}
		w.pass(resetEvery)
		if err := w.SendReset(ctx, operator, u.Email); err != nil || mailed() != 7 {
			t.Errorf("%d letters, that of an admin is not among them (%v)", mailed(), err)
		}
		made, err := w.st.Links(ctx, u.Account, relay.LinkReset)
		if err != nil || len(made) == 0 {
			t.Fatalf("%d links, %v", len(made), err)
		}
		// The newest one: it replaces those before it.
		if by := made[len(made)-1].CreatedBy; by != operator.Who {
			t.Errorf("an admin's link was made by %q", by)
		}
		if text := w.mails[len(w.mails)-1].text; !strings.Contains(text, "looks after your account") || strings.Contains(text, "198.18") {
			t.Errorf("letter:\n%s", text)
		}
		w.pass(24 * time.Hour)
		if err := w.AskReset(ctx, evil, "ann"); err != nil || mailed() != 8 {
			t.Errorf("%d letters the next day (%v)", mailed(), err)
		}
	})
}

// Whoever looks after somebody is told at once why no link is mailed; a stranger who
// asks for the same person never is.
func TestResetThatIsNotMailedIsSaid(t *testing.T) {
	t.Parallel()
	eachSSO(t, func(*Issuer) {}, func(t *testing.T, w *world, p *idp) {
		ctx := t.Context()
		off := w.withApp("off", func(u *relay.User) { u.DisabledAt = w.now() })
		sso := w.person("sso", func(u *relay.User) { u.Password = "" })
		w.gone(&sso, p.URL)
		for _, v := range []struct{ to, says string }{
			{off.Email, "the person is disabled"}, {sso.Email, "by single sign-on only"}, {"nobody@example.test", "nobody of this address"}, {"", "nobody of this address"},
		} {
			if err := w.SendReset(ctx, operator, v.to); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), v.says) {
				t.Errorf("%q: %v, want a conflict that says %q", v.to, err, v.says)
			}
			if err := w.AskReset(ctx, home, v.to); err != nil {
				t.Errorf("a stranger who asks for %q is told %v", v.to, err)
			}
		}
		ann := w.withApp("ann")
		for range resetsPerDay[resetAdmin] {
			if err := w.SendReset(ctx, operator, ann.Email); err != nil {
				t.Fatal(err)
			}
			if err := w.SendReset(ctx, operator, ann.Email); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "a few minutes ago") {
				t.Errorf("at once again: %v", err)
			}
			w.pass(resetEvery)
		}
		if err := w.SendReset(ctx, operator, ann.Email); relay.KindOf(err) != relay.Conflict || !strings.Contains(err.Error(), "try again tomorrow") {
			t.Errorf("too many in a day: %v", err)
		}
		w.jobsDone()
		if n := w.told(ann.Email, "Set a new password"); n != resetsPerDay[resetAdmin] || len(w.mails) != n {
			t.Errorf("%d letters to her, %d in all", n, len(w.mails))
		}
	})
}
