package sender

import "testing"

func TestMailboxProvider(t *testing.T) {
	for domain, want := range map[string]bool{
		"gmail.com": true, "GMAIL.com.": true, "yahoo.co.uk": true, "yahoo.com": true, "gmx.net": true, "hotmail.fr": true, "yandex.com.tr": true,
		"acme.test": false, "mail.gmail.com": false, "gmail.com.evil.test": false, "yahoo.acme.com": false, "live.example.org": false, "gmx": false, "": false,
	} {
		if MailboxProvider(domain) != want {
			t.Errorf("%q: %v", domain, !want)
		}
	}
}
