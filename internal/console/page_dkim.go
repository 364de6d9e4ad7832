package console

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/dkim"
)

const apiDKIM = apiDomain + "/keys"

// dkimPages are the pages of one DKIM key, which others know by its selector.
var dkimPages = []page{
	{Method: "GET", Pattern: "/domains/{domain}/keys/{selector}", Title: "DKIM key", Needs: []string{"GET " + apiDomain, "GET " + apiDKIM}, Handler: onDesk(showDKIM)},
	{Method: "GET", Pattern: "/domains/{domain}/keys/{selector}/export", Title: "DKIM key", Needs: []string{"GET " + apiDomain, "GET " + apiDKIM}, Handler: onDesk(exportDKIM)},
}

// apiDKIMRecord is a DKIM key with its record, as the list of keys has it.
type apiDKIMRecord struct {
	apiDKIMKey
	Record      string    `json:"record"`
	SeenAt      time.Time `json:"seen_at"`
	WithdrawnAt time.Time `json:"withdrawn_at"`
}

// dkimTones are how the states of a key look.
var dkimTones = map[string]string{"signing": toneOK, "waiting": toneInfo, "off": toneWarn}

// dkimPage shows one DKIM key.
type dkimPage struct {
	Notice notice
	Is     facts
	Record facts
	Next   []link
	Back   link
}

// dkimKey reads the key of the path, with its domain.
func (v *desk) dkimKey() (d apiDomainView, k apiDKIMRecord, err error) {
	if d, err = v.domain(); err != nil {
		return d, k, err
	}
	list, err := ask[struct{ Result []apiDKIMRecord }](v, under(apiDomains, v.id("domain"), "keys"))
	if err != nil {
		return d, k, err
	}
	selector := v.id("selector")
	i := slices.IndexFunc(list.Result, func(k apiDKIMRecord) bool { return k.Selector == selector })
	if i < 0 {
		return d, k, notHere()
	}
	return d, list.Result[i], nil
}

func showDKIM(v *desk) error {
	d, k, err := v.dkimKey()
	if err != nil {
		return err
	}
	here := under(v.domainPath(d.Number)+"/keys", k.Selector)
	p := dkimPage{Notice: k.meaning(&d), Back: link{"Back to the domain", v.domainPath(d.Number)}}
	p.Is.add("State", tagged(k.State, dkimTones[k.State]))
	p.Is.add("Algorithm", words(k.algorithm()))
	if k.Imported {
		p.Is.add("Comes from", words("elsewhere: it was brought here"))
	}
	p.Is.add("Made", v.at(k.CreatedAt))
	p.Is.add("All name servers have it since", v.at(k.SeenAt))
	p.Is.add("Signs since", v.at(k.ActivatedAt))
	p.Is.add("Signs no more since", v.at(k.RetiredAt))
	p.Is.add("Withdrawn", v.at(k.WithdrawnAt))
	if k.Record != "" {
		p.Record.Title = "Its public record"
		p.Record.add("Name", cell{Text: k.Name, ID: "dkim-name"})
		p.Record.add("Type", words("TXT"))
		p.Record.add("Value", cell{Text: k.Record, ID: "dkim-value"})
		p.Next = []link{{"As a line of a zone file", here + "/export"}}
	}
	if d.Automatic {
		p.Record.add("Where it stands", words("in the relay's own zone: the alias in yours leads there. Publish it yourself only in the place of the alias."))
	}
	p.Next = append(p.Next, v.linkAt("Change the keys", v.domainPath(d.Number)+"/rotate", "POST", apiDomain+"/rotate")...)
	return v.Render(http.StatusOK, "page_dkim", "DKIM key "+k.Selector+" of "+d.title(), p)
}

// rotating reports whether a key waits to take over from one that signs. One that has
// waited since the signing one was made is an offer, not a change.
func (d *apiDomainView) rotating() bool {
	signs := map[string]time.Time{} // by algorithm, the youngest
	for _, k := range d.Keys {
		if at, ok := signs[k.Algorithm]; k.State == "signing" && (!ok || k.CreatedAt.After(at)) {
			signs[k.Algorithm] = k.CreatedAt
		}
	}
	return slices.ContainsFunc(d.Keys, func(k apiDKIMKey) bool {
		at, ok := signs[k.Algorithm]
		return ok && k.State == "waiting" && k.CreatedAt.After(at)
	})
}

// algorithm is that of a key, with its size in bits.
func (k *apiDKIMKey) algorithm() string {
	if k.Bits > 0 {
		return k.Algorithm + ", " + strconv.Itoa(k.Bits) + " bits"
	}
	return k.Algorithm
}

// meaning says what a key's state means, and what is to be done.
func (k *apiDKIMRecord) meaning(d *apiDomainView) notice {
	switch k.State {
	case "signing":
		if d.Automatic {
			return notice{Tone: toneOK, Title: "Mail is signed with it.", Text: "Leave the alias in your DNS: without it receivers do not believe the signatures."}
		}
		return notice{Tone: toneOK, Title: "Mail is signed with it.", Text: "Leave its record in the DNS: without it receivers do not believe the signatures."}
	case "waiting":
		if d.Automatic {
			return notice{Tone: toneInfo, Title: "It does not sign yet.", Text: "The relay publishes it. It signs once all name servers answer with it; there is nothing to do."}
		}
		return notice{Tone: toneInfo, Title: "It does not sign yet.", Text: "Publish the record below where the domain's DNS is kept. It signs once all name servers answer with it."}
	case "retired":
		return notice{Tone: toneInfo, Title: "It signs no more.", Text: "Leave its record in the DNS for now: mail that it signed may still be on its way."}
	case "withdrawn":
		return notice{Tone: toneInfo, Title: "It is over.", Text: "No mail that it signed is on its way. Where you publish its record yourself, you can delete it."}
	case "off":
		return notice{Tone: toneWarn, Title: "The operator of this relay has switched it off.", Text: "Mail is signed with another key of the domain. Ask the operator before you delete its record."}
	}
	return notice{}
}

// exportDKIM is the public record as a line of a zone file.
func exportDKIM(v *desk) error {
	_, k, err := v.dkimKey()
	if err != nil {
		return err
	}
	if k.Record == "" {
		return notHere()
	}
	h := v.W.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="`+fileName(k.Name)+`.txt"`)
	_, err = io.WriteString(v.W, zoneText(k.Name)+". IN TXT "+dkim.ZoneTXT(zoneText(k.Record))+"\n")
	return err
}

// zoneText is a text without what would begin another line of a zone file.
func zoneText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// fileName is a name as a header can carry it.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, clip(s, 200))
}
