package mailsend

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// footer is text that goes under the content.
type footer struct{ text, html string }

// flag reads an enable member; words is what to say where it is no boolean.
func (p *parser) flag(field, anchor string, v value, words string) bool {
	if v == nil {
		return false
	}
	b, ok := v.boolean()
	if !ok {
		p.add(field, anchor, "%s", words)
	}
	return b
}

// optional reads a string that may be absent.
func (p *parser) optional(field, anchor string, v value, words string) string {
	if v == nil {
		return ""
	}
	s, ok := v.text()
	if !ok {
		p.add(field, anchor, "%s", words)
	}
	return s
}

// group is one object of settings with the path it stands at.
type group struct {
	p    *parser
	path string
	m    map[string]value
}

// group reads settings.name; ok is false if it is not there or no object.
func (p *parser) group(settings map[string]value, parent, name string, members ...string) (group, bool) {
	g := group{p: p, path: parent + "." + name}
	v, ok := settings[name]
	if ok && !v.isObject() {
		p.wrongType(g.path, "message."+g.path, "object", v)
		return g, false
	}
	if ok {
		g.m = v.object(append(members, "enable")...)
	}
	return g, ok
}

func (g group) flag(name, words string) bool {
	at := g.path + "." + name
	return g.p.flag(at, "message."+at, g.m[name], words)
}

func (g group) text(name, words string) string {
	at := g.path + "." + name
	return g.p.optional(at, "message."+at, g.m[name], words)
}

// fault is about one member, or the group itself (name "").
func (g group) fault(name, words string) {
	at := g.path
	if name != "" {
		at += "." + name
	}
	g.p.add(at, "message."+at, "%s", words)
}

func (p *parser) settings(v value, field string, names ...string) map[string]value {
	switch {
	case v == nil:
		return nil
	case !v.isObject():
		p.wrongType(field, "message."+field, "object", v)
		return nil
	}
	return v.object(names...)
}

var bypasses = []string{"bypass_list_management", "bypass_spam_management", "bypass_bounce_management", "bypass_unsubscribe_management"}

func (p *parser) mailSettings(v value) {
	const field = "mail_settings"
	m := p.settings(v, field, append([]string{"bcc", "footer", "sandbox_mode", "spam_check"}, bypasses...)...)
	on := 0
	for i, name := range bypasses {
		g, ok := p.group(m, field, name)
		if !ok {
			continue
		}
		if g.flag("enable", "The "+strings.ReplaceAll(name, "_", " ")+" enable param should be a boolean value.") {
			if i > 0 && on&1 != 0 {
				g.fault("", "bypass_list_management cannot be combined with another bypass setting.")
			}
			on |= 1 << i
		}
	}
	if g, ok := p.group(m, field, "footer", "text", "html"); ok {
		f := footer{
			text: g.text("text", "The text/plain version of your footer should be a string."),
			html: g.text("html", "The text/html version of your footer should be a string."),
		}
		if g.flag("enable", "The footer enable param should be a boolean value.") {
			p.out.footer = f
		}
	}
	if g, ok := p.group(m, field, "sandbox_mode"); ok {
		p.out.Sandbox = g.flag("enable", "The sandbox mode enable param should be a boolean value.")
	}
	p.bccSetting(m)
	p.spamCheck(m)
}

// bccSetting and spamCheck are checked as documented and then refused: both are
// retired where they come from.
func (p *parser) bccSetting(m map[string]value) {
	g, ok := p.group(m, "mail_settings", "bcc", "email")
	if !ok || !g.flag("enable", "The bcc enable param should be a boolean value.") {
		return
	}
	email, ok := g.m["email"]
	if !ok {
		g.fault("email", "You must include a recipient object when using the bcc mail setting.")
		return
	}
	s, _ := email.text()
	if _, ok := address(s); !ok {
		g.fault("email", "The bcc email recipient object must at least have an email address and may also contain a name. "+example)
		return
	}
	g.fault("", "The bcc mail setting is not available on this relay; name the address in bcc of the personalizations.")
}

func (p *parser) spamCheck(m map[string]value) {
	g, ok := p.group(m, "mail_settings", "spam_check", "threshold", "post_to_url")
	if !ok {
		return
	}
	before := len(p.list)
	on := g.flag("enable", "The spam check enable param should be a boolean value.")
	to := g.text("post_to_url", "The spam check url must be a string.")
	threshold, given := g.m["threshold"]
	n, whole := int64(0), false
	if given {
		n, whole = threshold.integer()
	}
	switch {
	case given && (!whole || n < 1 || n > 10):
		g.fault("threshold", "The spam check threshold is between 1 and 10, with the lower numbers being the most strict filtering.")
	case on && !given:
		g.fault("threshold", "You must include the spam check threshold  when using the spam check mail setting.")
	}
	u, err := url.Parse(to)
	switch {
	case len(p.list) > before && g.m["post_to_url"] != nil && to == "":
	case on && g.m["post_to_url"] == nil:
		g.fault("post_to_url", "You must include the url to post to when using the spam check mail setting.")
	case g.m["post_to_url"] != nil && (err != nil || u.Scheme != "http" && u.Scheme != "https"):
		g.fault("post_to_url", "The `post_to_url` parameter must start with `http://` or `https://`.")
	}
	if on && len(p.list) == before {
		g.fault("", "The spam check is not available on this relay; leave it out.")
	}
}

func (p *parser) trackingSettings(v value) {
	const field = "tracking_settings"
	m := p.settings(v, field, "click_tracking", "open_tracking", "subscription_tracking", "ganalytics")
	if g, ok := p.group(m, field, "click_tracking", "enable_text"); ok {
		on := g.flag("enable", "The click tracking enable param should be a boolean value.")
		g.flag("enable_text", "The click tracking enable text must be a boolean value.")
		g.refuse(on, "Click tracking")
	}
	if g, ok := p.group(m, field, "open_tracking", "substitution_tag"); ok {
		on := g.flag("enable", "The open tracking enable param should be a boolean value.")
		g.text("substitution_tag", "The open tracking substitution tag must be a string.")
		g.refuse(on, "Open tracking")
	}
	if g, ok := p.group(m, field, "subscription_tracking", "text", "html", "substitution_tag"); ok {
		on := g.flag("enable", "The subscription tracking enable param should be a boolean value.")
		g.text("html", "The subscription tracking unsubscribe content for text/html messages must be a string.")
		g.text("substitution_tag", "The subscription tracking substitution tag must be a string value.")
		g.text("text", "The subscription tracking unsubscribe content for text/plain messages must be a string.")
		g.refuse(on, "Subscription tracking")
	}
	utm := []string{"utm_campaign", "utm_content", "utm_medium", "utm_source", "utm_term"}
	if g, ok := p.group(m, field, "ganalytics", utm...); ok {
		on := g.flag("enable", "The Google Analytics enable param must be a boolean value.")
		for _, name := range utm {
			g.text(name, "The Google Analytics "+name+" must be a string value.")
		}
		g.refuse(on, "Google Analytics")
	}
}

// refuse says that something switched on is not there.
func (g group) refuse(on bool, what string) {
	if on {
		g.fault("enable", what+" is not available on this relay; set enable to false or leave it out.")
	}
}

// template refuses every template: there are none.
func (p *parser) template(v value) {
	const field, anchor = "template_id", "message.template_id"
	if v == nil {
		return
	}
	s, ok := v.text()
	switch {
	case !ok:
		p.add(field, anchor, "The template ID must be a string, you provided [%s].", shown(string(v)))
	case s == "":
		p.add(field, anchor, "Must be a valid template.")
	default:
		p.add(field, anchor, "The Template ID must be a valid template id for your account. You provided [%s].", shown(s))
	}
}

// maxGroups is how many unsubscribe groups may be displayed.
const maxGroups = 25

// asm refuses every unsubscribe group: there are none.
func (p *parser) asm(v value) {
	if v == nil {
		return
	}
	m := p.settings(v, "asm", "group_id", "groups_to_display")
	if m == nil {
		return
	}
	const field, anchor = "asm.group_id", "message.asm.group_id"
	id := int64(0)
	group, ok := m["group_id"]
	if ok {
		id, ok = group.integer()
	}
	if !ok {
		p.add(field, anchor, "The ASM group ID must be an integer.")
	} else {
		p.add(field, anchor, "The ASM group ID must be a valid Group ID on your account. You provided [%d].", id)
	}
	if list, ok := m["groups_to_display"]; ok {
		p.groupsToDisplay(list)
	}
}

func (p *parser) groupsToDisplay(v value) {
	const field, anchor = "asm.groups_to_display", "message.asm.groups_to_display"
	var ids []string
	good := v.isArray()
	for i, e := range v.elements() {
		if i == maxGroups {
			p.add(field, anchor, "There is a limit of 25 unsubscribe groups that can be displayed to a user at a time.")
			return
		}
		id, ok := e.integer()
		good = good && ok
		ids = append(ids, strconv.FormatInt(id, 10))
	}
	switch {
	case !good:
		p.add(field, anchor, "The ASM Group IDs to display must be an array of integers.")
	case len(ids) > 0:
		p.add(field, anchor, "All ASM groups to display must be valid ASM groups IDs on your account. You provided {%s}.", strings.Join(slices.Compact(ids), ", "))
	}
}
