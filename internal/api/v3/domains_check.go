package v3

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/internal/finding"
	"postern/internal/httpx"
	"postern/internal/relay"
	"postern/internal/sender"
)

var domainCheckRoutes = []Route{
	{
		Method: "POST", Pattern: pathDomain + "/validate", Scope: scopeDomainChange,
		Summary: "Ask the domain's own name servers now. What they say is never an error; within three seconds the last answer is told again",
		Answers: map[int]any{200: domainCheckView{}}, Handler: (*API).validateDomain,
	},
	{
		Method: "GET", Pattern: pathDomain + "/check", Scope: scopeDomainRead,
		Summary: "Show what the last check found, without asking the DNS",
		Answers: map[int]any{200: domainCheckView{}}, Handler: (*API).showDomainCheck,
	},
	{
		Method: "GET", Pattern: pathDomain + "/records", Scope: scopeDomainRead,
		Summary: "Show the records to publish: as JSON, as text for a zone file, or with the fields of a DNS host's form",
		Query: []Param{
			{Name: "format", Type: "string", Doc: "json, or zone for text/plain"},
			{Name: "host", Type: "string", Doc: "a DNS host whose form is to be filled in: cloudflare, route53, godaddy, …"},
		},
		Answers: map[int]any{200: domainRecordsView{}}, Also: []string{mediaText}, Handler: (*API).showDomainRecords,
	},
	{
		Method: "POST", Pattern: "/v3/whitelabel/dns/email", Scope: scopeDomainChange,
		Summary: "Mail a domain's records to whoever publishes them: 20 letters a day",
		Body:    dnsLetter{}, Answers: map[int]any{204: nil}, Handler: (*API).mailRecords,
	},
}

const mediaText = "text/plain"

// domainCheckView is SendGrid's answer of validate, and behind it what postern
// adds.
type domainCheckView struct {
	Number  int64                       `json:"id"`
	Valid   bool                        `json:"valid"`
	Results map[string]validationResult `json:"validation_results"`

	Name      string            `json:"domain"`
	State     relay.DomainState `json:"state"`
	Reason    string            `json:"reason,omitempty"`
	Disputed  bool              `json:"disputed,omitempty"`
	Unknown   bool              `json:"unknown,omitempty" doc:"the DNS did not answer, so nothing is known"`
	Secure    bool              `json:"dnssec"`
	CheckedAt time.Time         `json:"checked_at"`
	NextAt    time.Time         `json:"next_check_at,omitzero"`
	Servers   []string          `json:"name_servers" doc:"that were asked"`
	Records   []domainRecord    `json:"records"`
	Findings  []finding.Finding `json:"findings"`
	DMARC     dmarcView         `json:"dmarc"`
}

type validationResult struct {
	Valid  bool    `json:"valid"`
	Reason *string `json:"reason"`
}

// validatePause is how long a check stands: nobody makes us flood name servers.
const validatePause = 3 * time.Second

func (a *API) validateDomain(c *Call) error {
	d, err := a.ownDomain(c)
	if err != nil {
		return err
	}
	last, err := a.lastCheck(c, d.ID)
	if err != nil {
		return err
	}
	if since := c.Now.Sub(last.At); !last.At.IsZero() && since >= 0 && since < validatePause {
		return a.replyCheck(c, &d, last)
	}
	if !a.checks.begin(d.ID, c.Now) {
		if last.At.IsZero() { // the first one is under way
			c.W.Header().Set("Retry-After", strconv.Itoa(int(validatePause/time.Second)))
			return httpx.Refuse(http.StatusTooManyRequests, "This domain is being checked. Ask again in three seconds.")
		}
		return a.replyCheck(c, &d, last)
	}
	check, err := a.Domains.Check(c.R.Context(), c.By, d.ID)
	if err != nil {
		return hidden(err)
	}
	now, err := a.DomainStore.DomainNumbered(c.R.Context(), d.Number) // the check moved its state
	if err != nil {
		return hidden(err)
	}
	return a.replyCheck(c, &now, check)
}

// pace remembers which domains were asked for in the last validatePause.
type pace struct {
	mu   sync.Mutex
	last map[relay.DomainID]time.Time // guarded by mu
}

// maxPaced bounds the table: more domains than that are not asked for in
// validatePause.
const maxPaced = 10_000

// begin reports whether a domain may be asked for now, and notes that it is.
func (p *pace) begin(id relay.DomainID, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.last[id]; ok && now.Sub(at).Abs() < validatePause {
		return false
	}
	if p.last == nil {
		p.last = map[relay.DomainID]time.Time{}
	}
	if len(p.last) >= maxPaced {
		for id, at := range p.last {
			if now.Sub(at).Abs() >= validatePause {
				delete(p.last, id)
			}
		}
	}
	if len(p.last) >= maxPaced {
		return false
	}
	p.last[id] = now
	return true
}

func (a *API) showDomainCheck(c *Call) error {
	d, err := a.pathDomain(c)
	if err != nil {
		return err
	}
	check, err := a.DomainStore.DomainCheck(c.R.Context(), d.ID)
	if err != nil {
		return hidden(err)
	}
	return a.replyCheck(c, &d, check)
}

func (a *API) replyCheck(c *Call, d *relay.Domain, check relay.DomainCheck) error {
	v := domainCheckView{
		Number: d.Number, Valid: check.Valid && !d.Disputed, Results: map[string]validationResult{}, Name: d.Name, State: d.State, Reason: d.Reason,
		Disputed: d.Disputed, Unknown: check.Unknown, Secure: check.Secure, CheckedAt: check.At, NextAt: check.NextAt,
		Servers: append([]string{}, check.Servers...), Records: []domainRecord{}, Findings: append([]finding.Finding{}, check.Findings...), DMARC: viewDMARC(check),
	}
	for _, r := range check.Records {
		res := validationResult{Valid: r.Valid}
		if !r.Valid {
			res.Reason = &r.Reason
		}
		v.Results[dnsKey(d, r.Key)] = res
		v.Records = append(v.Records, domainRecord{
			Key: r.Key, For: r.For, Name: r.Host, Type: r.Type, Value: r.Data, Required: r.Required, Valid: r.Valid, Reason: r.Reason, Found: r.Found,
		})
	}
	return c.JSON(http.StatusOK, v)
}

// domainRecordsView has the records, and the fields of a host's form if one was
// named.
type domainRecordsView struct {
	Result []domainRecord  `json:"result"`
	Host   *sender.Host    `json:"host,omitempty"`
	Fields []sender.Fields `json:"fields,omitempty"`
}

func (a *API) showDomainRecords(c *Call) error {
	d, err := a.pathDomain(c)
	if err != nil {
		return err
	}
	_, records, err := a.Domains.Records(c.R.Context(), d.ID)
	if err != nil {
		return hidden(err)
	}
	switch c.Text("format") {
	case "zone":
		c.W.Header().Set("Content-Type", mediaText+"; charset=utf-8")
		_, err := c.W.Write([]byte(sender.ZoneSnippet(records)))
		return err
	case "", "json":
	default:
		return invalid("format", "Write json or zone.")
	}
	check, err := a.lastCheck(c, d.ID)
	if err != nil {
		return err
	}
	v := domainRecordsView{Result: viewRecords(records, check)}
	if id := c.Text("host"); id != "" {
		var known []string
		for _, h := range sender.Hosts(d) {
			if known = append(known, h.ID); h.ID == id {
				v.Host, v.Fields = &h, sender.HostFields(id, d, records)
			}
		}
		if v.Host == nil {
			return invalid("host", "That DNS host is not known here. These are: %s.", strings.Join(known, ", "))
		}
	}
	return c.JSON(http.StatusOK, v)
}
