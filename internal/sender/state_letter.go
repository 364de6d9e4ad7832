package sender

import (
	"fmt"
	"strings"

	"postern/internal/relay"
)

// turnText is a turn in one or two sentences.
func turnText(d relay.Domain, turn Turn, set Settings) string {
	switch turn {
	case TurnVerified:
		return d.Name + " is verified: its DNS records are published and right, and mail can be sent as this domain."
	case TurnRecovered:
		return "The DNS records of " + d.Name + " are back, and mail as this domain goes as usual."
	case TurnFailing:
		return "The DNS records of " + d.Name + " are not as they should be. " + d.Reason + " " + until(d, set)
	case TurnPaused:
		return "Mail as " + d.Name + " is paused. " + d.Reason + " " + until(d, set)
	case TurnFailed:
		return "Mail as " + d.Name + " is refused: the domain is no longer proven. " + d.Reason
	case TurnDisputed:
		return "The DNS proves " + d.Name + ", but another account here has it and its records are right too. It becomes yours as soon as the other's records are gone from the DNS."
	}
	return ""
}

// turnLetter is what the owner of a domain reads. What it quotes was cleaned when
// it was found.
func turnLetter(d relay.Domain, turn Turn, set Settings) (subject, text string) {
	var b strings.Builder
	switch turn {
	case TurnVerified:
		subject = d.Name + " is verified"
		b.WriteString("Its DNS records are published and right. Mail can be sent as this domain from now on.\n\n" +
			"Leave the records in place: they are looked at again and again, and mail as this domain depends on them.\n")
	case TurnRecovered:
		subject = "The DNS records of " + d.Name + " are back"
		b.WriteString("All records that are required are there again. Mail as this domain goes as usual; there is nothing to do.\n")
	case TurnFailing:
		subject = "Action needed: DNS records of " + d.Name
		fmt.Fprintf(&b, "A check of the domain's DNS records found something wrong:\n\n    %s\n\n%s\n\n%s", d.Reason, until(d, set), whatToDo(d))
	case TurnPaused:
		subject = "Mail as " + d.Name + " is paused"
		fmt.Fprintf(&b, "The domain's DNS records have not been right since %s:\n\n    %s\n\n%s\n\n%s", day(d.FailingSince), d.Reason, until(d, set), whatToDo(d))
	case TurnFailed:
		subject = "Mail as " + d.Name + " is refused"
		fmt.Fprintf(&b, "The domain is no longer proven, and mail as it is refused for good (550):\n\n    %s\n\n%s", d.Reason, whatToDo(d))
	case TurnDisputed:
		subject = d.Name + " belongs to another account"
		b.WriteString("The DNS records that you published are right. But another account here has proven this domain too, and its records are still in the DNS, " +
			"so that mail as this domain stays with it.\n\n" +
			"If the domain is yours, remove the other's records from its DNS zone: CNAME records into this relay's zone, or TXT records at _postern and _domainkey, that are not yours. " +
			"It becomes yours by itself after that.\n")
	}
	return subject, b.String()
}

func whatToDo(d relay.Domain) string {
	return fmt.Sprintf("What to do: put the records back as they are shown for the domain, by the API or by\n\n    postern domain show %s\n\n"+
		"To have it looked at again at once, validate it by the API or by\n\n    postern domain validate %s\n\n"+
		"It is also looked at by itself, and mail goes again as soon as the records are right. If the domain is no longer used here, remove it.\n", d.Name, d.Name)
}
