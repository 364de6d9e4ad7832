package postfix

import (
	"os"
	"path/filepath"
	"strings"
)

// Mailboxes is the part of main.cf that makes an instance the last hop of a
// domain: each of the users has a mailbox that Mails reads, everybody else is
// refused at RCPT with 550. For further domains, call it once with all users
// and join virtual_mailbox_domains by hand.
func Mailboxes(domain string, users ...string) map[string]string {
	var maps []string
	for _, u := range users {
		maps = append(maps, "{ "+u+"@"+domain+" = "+u+"/ }")
	}
	return map[string]string{
		"virtual_mailbox_domains": domain,
		"virtual_mailbox_maps":    "inline:{" + strings.Join(maps, ", ") + "}",
		"virtual_mailbox_base":    "$data_directory/../mail",
		// The folder is made by root; the mail needs no owner of its own here.
		"virtual_uid_maps":      "static:65534",
		"virtual_gid_maps":      "static:65534",
		"virtual_minimum_uid":   "100",
		"virtual_mailbox_limit": "0",
		"message_size_limit":    "52428800",
	}
}

// Mails returns the messages in a user's mailbox, with the line ends that a
// Maildir has (LF).
func (i *Instance) Mails(user string) ([]string, error) {
	names, err := filepath.Glob(i.Path("mail", user, "new", "*"))
	if err != nil {
		return nil, err
	}
	var mails []string
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		mails = append(mails, string(b))
	}
	return mails, nil
}
