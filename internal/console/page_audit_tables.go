package console

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/audit"
)

// auditTable is a table of the report. It shows as many rows as the report for print
// does; a list of ten thousand is for a program.
type auditTable struct {
	Table table
	More  string // how many rows are not here, and where they are; "": all are
}

// firstOf makes a table of at most audit.MaxText of all, and says which has the rest.
func firstOf[T any](t table, all []T, which string, cells func(*T) []cell) auditTable {
	for i := range min(len(all), audit.MaxText) {
		t.Rows = append(t.Rows, row{Cells: cells(&all[i])})
	}
	more := ""
	if over := int64(len(all) - audit.MaxText); over > 0 {
		more = "… and " + things(over, "more row") + ", " + which + "."
	}
	return auditTable{t, more}
}

// inJSON says where the rest of a table is: print is cut at the same length.
const inJSON = "which the report as JSON has"

type auditSender struct {
	Key           string    `json:"api_key_id"`
	Name          string    `json:"name"`
	Subuser       string    `json:"subuser"`
	Active        bool      `json:"active"`   // it can log in now
	CanSend       bool      `json:"can_send"` // it has the scope for it
	Senders       []string  `json:"senders"`
	From          []string  `json:"from"`
	Full          bool      `json:"full_access"`
	Last          time.Time `json:"last_used_at"`
	LastFrom      string    `json:"last_used_from"`
	LastHelo      string    `json:"last_used_helo"`
	LastMechanism string    `json:"last_used_mechanism"`
	Findings      int64     `json:"findings"`
}

type auditPerson struct {
	Username     string    `json:"username"`
	Email        string    `json:"email"`
	Role         string    `json:"role"`
	Subuser      string    `json:"subuser"`
	SecondFactor bool      `json:"second_factor"`
	Password     bool      `json:"password"`
	Disabled     bool      `json:"disabled"`
	SeenAt       time.Time `json:"last_seen_at"`
	SeenFrom     string    `json:"last_seen_from"`
	Findings     int64     `json:"findings"`
}

type auditClient struct {
	Key       string    `json:"api_key_id"`
	KeyName   string    `json:"key_name"`
	Protocol  string    `json:"protocol"`
	Addr      string    `json:"addr"`
	Helo      string    `json:"helo"`
	Mechanism string    `json:"mechanism"`
	TLS       string    `json:"tls"`
	Last      time.Time `json:"last_at"`
	Logins    int64     `json:"logins"`
	Weak      []string  `json:"weak"`
}

type auditDomain struct {
	Number    int64     `json:"id"`
	Name      string    `json:"domain"`
	Subuser   string    `json:"subuser"`
	State     string    `json:"state"`
	Policy    string    `json:"dmarc_policy"`
	SPF       string    `json:"spf_aligned"`
	DKIM      string    `json:"dkim_aligned"`
	CheckedAt time.Time `json:"checked_at"`
	Findings  int64     `json:"findings"`
}

type auditList struct {
	Subuser string   `json:"subuser"` // "": the account's
	Entries []string `json:"entries"`
	Monitor bool     `json:"monitor"`
}

type auditComponent struct {
	Name      string `json:"name"`
	Version   string `json:"version"`
	Released  string `json:"released"`
	Supported string `json:"supported_until"`
	Old       bool   `json:"old"`
}

// auditTables are the tables of a report behind its findings, as print has them.
func (v *desk) auditTables(r *auditView) []auditTable {
	subusers := map[string]string{} // by key
	for _, s := range r.Senders {
		subusers[s.Key] = s.Subuser
	}
	severities := table{ID: "severities", Caption: "Findings by how bad they are", Head: []string{"How bad", "Findings"}}
	for _, s := range audit.Severities {
		severities.Rows = append(severities.Rows, row{Cells: []cell{{Badges: []badge{severityBadge(string(s))}}, number(r.Counts[string(s)])}})
	}
	practices := table{ID: "practices", Caption: "The eight practices", Head: []string{"Practice", "Findings", "Points lost"}}
	for _, x := range r.Practices {
		practices.Rows = append(practices.Rows, row{Cells: []cell{words(strings.ReplaceAll(x.Practice, "_", " ")), number(x.Findings), number(x.Weight)}})
	}
	return []auditTable{
		{Table: severities}, {Table: practices},
		firstOf(table{ID: "senders", Caption: "Who can send, as whom, from where", Head: []string{"Key", "As", "From", "Last use", "Findings"}}, r.Senders, inJSON, v.senderCells),
		firstOf(table{ID: "people", Caption: "People", Head: []string{"Name", "Address", "Role", "Second factor", "Last seen", "Findings"}}, r.People, inJSON, v.auditPersonCells),
		firstOf(table{ID: "clients", Caption: "Programs, by their last login", Head: []string{"Key", "From", "By", "TLS", "Last", "Weak"}}, r.Clients, inJSON,
			func(c *auditClient) []cell { return v.clientCells(c, subusers[c.Key]) }),
		firstOf(table{ID: "domains", Caption: "Domains", Head: []string{"Domain", "State", "DMARC", "SPF aligned", "DKIM aligned", "Last look", "Findings"}}, r.Domains, inJSON, v.auditDomainCells),
		firstOf(table{ID: "lists", Caption: "IP access", Head: []string{"List of", "Lets in", "Mode"}}, r.Lists, inJSON, v.listCells),
		firstOf(table{ID: "components", Caption: "Versions", Head: []string{"Part", "Version", "Released", "Supported until"}}, r.Components, inJSON, componentCells),
	}
}

func (v *desk) senderCells(s *auditSender) []cell {
	name := v.keyCellOf(s.Subuser, s.Key, s.Name)
	name.Note = s.Subuser
	if s.Full {
		name.Badges = append(name.Badges, badge{"full access", toneWarn})
	}
	if !s.Active {
		name.Badges = append(name.Badges, badge{"cannot log in", toneMute})
	}
	last := cell{Time: momentOf(v.Now, s.Last), Note: placeWords(s.LastFrom, s.LastHelo, s.LastMechanism)}
	if s.Last.IsZero() {
		last = words("never")
	}
	return []cell{name, s.as(), orAll(s.From, "anywhere"), last, number(s.Findings)}
}

// as is as whom a key may send. One that is off, or may do other things only, sends as
// nobody, whatever it is narrowed to.
func (s *auditSender) as() cell {
	if !s.Active || !s.CanSend {
		return words("nobody")
	}
	return orAll(s.Senders, "all of its own")
}

func (v *desk) auditPersonCells(u *auditPerson) []cell {
	name := words(u.Username)
	if v.May("GET", apiPerson) {
		name.Href = v.whosePath(u.Subuser, "/people", u.Username)
	}
	name.Note = u.Subuser
	if u.Disabled {
		name.Badges = []badge{{"switched off", toneMute}}
	}
	said := (&audit.PersonRow{SecondFactor: u.SecondFactor, Password: u.Password}).Factor()
	factor := words(said)
	switch {
	case u.SecondFactor:
		factor = tagged(said, toneOK)
	case u.Password:
		factor = tagged(said, toneBad)
	}
	seen := v.at(u.SeenAt)
	seen.Note = placeWords(u.SeenFrom, "", "")
	if u.SeenAt.IsZero() {
		seen = words("never")
	}
	return []cell{name, words(u.Email), words(roleWord(u.Role)), factor, seen, number(u.Findings)}
}

func (v *desk) clientCells(c *auditClient, subuser string) []cell {
	by := words(orNone(c.Mechanism, "none"))
	by.Note = c.Protocol
	from, last := words(c.Addr), v.at(c.Last)
	from.Note, last.Note = c.Helo, things(c.Logins, "login")
	return []cell{v.keyCellOf(subuser, c.Key, c.KeyName), from, by, tlsCell(c.TLS), last, {Lines: c.Weak}}
}

func (v *desk) auditDomainCells(d *auditDomain) []cell {
	name := words(d.Name)
	if v.May("GET", apiDomain) {
		name.Href = v.whosePath(d.Subuser, "/domains", strconv.FormatInt(d.Number, 10))
	}
	name.Note = d.Subuser
	state := apiDomainView{State: d.State}
	looked := v.at(d.CheckedAt)
	if d.CheckedAt.IsZero() { // nothing is known of its records then
		return []cell{name, {Badges: []badge{state.state()}}, {}, {}, {}, words("never"), number(d.Findings)}
	}
	return []cell{name, {Badges: []badge{state.state()}}, policyCell(d.Policy), words(orNone(d.SPF, "no")), words(orNone(d.DKIM, "no")), looked, number(d.Findings)}
}

func (v *desk) listCells(l *auditList) []cell {
	name := words(orNone(l.Subuser, "the account"))
	if v.May("GET", apiRules) {
		name.Href = v.whosePath(l.Subuser, "/access")
	}
	entries := l.Entries
	if over := len(entries) - audit.MaxText; over > 0 {
		entries = append(slices.Clone(entries[:audit.MaxText]), "and "+strconv.Itoa(over)+" more")
	}
	mode := words("enforce")
	if l.Monitor {
		mode = tagged("monitor", toneWarn)
	}
	return []cell{name, orAll(entries, "everybody"), mode}
}

func componentCells(c *auditComponent) []cell {
	version := words(c.Version)
	if c.Old {
		version.Badges = []badge{{"old", toneWarn}}
	}
	return []cell{words(c.Name), version, words(day(c.Released)), words(day(c.Supported))}
}

// whosePath is a page about something that may be a subuser's: then it is the subuser's.
func (v *desk) whosePath(subuser, base string, parts ...string) string {
	here := v.path(base, parts...)
	if subuser != "" {
		return subuserPath(subuser, here)
	}
	return here
}

// keyCellOf is keyCell for a key that may be a subuser's: its page is the subuser's.
func (v *desk) keyCellOf(subuser, id, name string) cell {
	c := v.keyCell(id, name)
	if subuser != "" && c.Href != "" {
		c.Href = subuserPath(subuser, "/keys/"+url.PathEscape(id))
	}
	return c
}

// day is the day of a time as JSON has it.
func day(s string) string {
	if t, err := time.Parse(time.RFC3339, s); err == nil && !t.IsZero() {
		return t.UTC().Format(time.DateOnly)
	}
	return s
}

// orAll is a list, or a warning where there is none.
func orAll(list []string, none string) cell {
	if len(list) == 0 {
		return tagged(none, toneWarn)
	}
	return cell{Lines: list}
}
