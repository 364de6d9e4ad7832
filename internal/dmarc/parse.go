package dmarc

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// The limits of what is kept of a report. Texts beyond are cut, lists beyond go
// on unread.
const (
	maxText       = 500 // octets of free text
	maxName       = 253 // octets of a domain name
	maxSignResult = 20  // signatures of one record
	maxReasons    = 10  // reasons of one record
	maxErrors     = 20  // errors of a report
	maxSpan       = 31 * 24 * time.Hour
)

// The times that a report can be about. RFC 7489 is of 2015; there were drafts.
var (
	earliest = time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// ParseAggregate reads an aggregate report, as RFC 9990 or RFC 7489 appendix C
// has it: XML, plain or packed with gzip or zip, told apart by its first octets.
// name is what errors call it. At most 64 MiB are unpacked and 100,000 records
// taken; there are no entities but XML's own five, and what it does not know it
// passes over. Errors wrap ErrReport.
func ParseAggregate(r io.Reader, name string) (*Aggregate, error) {
	a, err := parseAggregate(r)
	if err != nil {
		return nil, fmt.Errorf("%.100q: %w", name, err)
	}
	return a, nil
}

func parseAggregate(r io.Reader) (*Aggregate, error) {
	in, err := unpack(r)
	if err != nil {
		return nil, err
	}
	p := parser{in: in, d: xml.NewDecoder(in), a: &Aggregate{}}
	p.d.CharsetReader = charset
	if err := p.document(); err != nil {
		if in.err != nil {
			return nil, in.err
		}
		if !errors.Is(err, ErrReport) {
			return nil, fmt.Errorf("%w: %w", ErrReport, err)
		}
		return nil, err
	}
	return p.a, p.check()
}

// charset reads the other encodings that reports come in.
func charset(label string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(strings.TrimSpace(label)) {
	case "us-ascii", "ascii", "utf8":
		return in, nil // what is not UTF-8 the decoder refuses
	case "iso-8859-1", "latin1", "windows-1252", "cp1252":
		return charmap.Windows1252.NewDecoder().Reader(in), nil
	}
	return nil, fmt.Errorf("%w: encoding %.40q", ErrReport, label)
}

// parser walks down the elements of a report. Each of its methods that reads an
// element ends behind the end of it.
type parser struct {
	in    *capped
	d     *xml.Decoder
	a     *Aggregate
	space string // namespace of the root element
	depth int
	seen  struct{ metadata, policy bool }
}

// next is the next token that matters.
func (p *parser) next() (xml.Token, error) {
	for {
		t, err := p.d.Token()
		p.in.token = 0
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.Directive:
			// XML bombs are made of entities, which a DOCTYPE declares.
			return nil, fmt.Errorf("%w: it has a DOCTYPE", ErrReport)
		case xml.StartElement:
			if p.depth++; p.depth > maxDepth {
				return nil, fmt.Errorf("%w: elements nested over %d deep", ErrReportSize, maxDepth)
			}
			return t, nil
		case xml.EndElement:
			p.depth--
			return t, nil
		case xml.CharData:
			return t, nil
		}
	}
}

// document reads the whole.
func (p *parser) document() error {
	root := false
	for {
		t, err := p.next()
		if errors.Is(err, io.EOF) && root {
			return nil
		}
		if err != nil {
			return err
		}
		s, ok := t.(xml.StartElement)
		if !ok {
			continue // text around the root: a byte order mark, line ends
		}
		if root || s.Name.Local != "feedback" {
			return fmt.Errorf("%w: element %.40q is not the one <feedback>", ErrReport, s.Name.Local)
		}
		root, p.space = true, s.Name.Space
		if err := p.children(p.feedback); err != nil {
			return err
		}
	}
}

// children gives the elements within the present one to take, which must read
// each to its end. Elements of other namespaces are extensions: passed over.
func (p *parser) children(take func(name string) error) error {
	for {
		t, err := p.next()
		if err != nil {
			return unexpected(err)
		}
		switch t := t.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if t.Name.Space != p.space && t.Name.Space != "" {
				err = p.skip()
			} else {
				err = take(t.Name.Local)
			}
			if err != nil {
				return err
			}
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// skip passes over the present element.
func (p *parser) skip() error {
	for level := p.depth; p.depth >= level; {
		if _, err := p.next(); err != nil {
			return unexpected(err)
		}
	}
	return nil
}

// text reads the present element's text, cleaned and cut to at most most octets.
func (p *parser) text(most int) (string, error) {
	var b strings.Builder
	for level := p.depth; ; {
		t, err := p.next()
		if err != nil {
			return "", unexpected(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			// Spaces before the text do not count against it.
			if s := t; p.depth == level && b.Len() <= most {
				if b.Len() == 0 {
					s = []byte(strings.TrimLeftFunc(string(t), unicode.IsSpace))
				}
				b.Write(s[:min(len(s), most+utf8.UTFMax)])
			}
		case xml.EndElement:
			if p.depth < level {
				return cleanText(b.String(), most), nil
			}
		}
	}
}

// cleanText is one line of printable text.
func cleanText(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	for len(s) > most {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// into reads free text.
func (p *parser) into(dst *string) (err error) {
	*dst, err = p.text(maxText)
	return err
}

// domain reads a domain name as the report has it: many are those of strangers,
// and not all of them are names.
func (p *parser) domain(dst *string) error {
	s, err := p.text(maxName)
	*dst = strings.TrimSuffix(strings.ToLower(s), ".")
	return err
}

// word reads one of a closed set; what is none of them becomes other.
func (p *parser) word(dst *string, other string, set ...string) error {
	s, err := p.text(maxText)
	*dst = strings.ToLower(s)
	if !slices.Contains(set, *dst) {
		*dst = other
	}
	return err
}

// number reads a whole number from 0 to most.
func (p *parser) number(what string, most int64) (int64, error) {
	s, err := p.text(maxText)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || int64(n) > most {
		return 0, fmt.Errorf("%w: %s is %.40q, want 0 to %d", ErrReport, what, s, most)
	}
	return int64(n), nil
}

func (p *parser) feedback(name string) error {
	switch name {
	case "report_metadata":
		if p.seen.metadata {
			return fmt.Errorf("%w: two report_metadata", ErrReport)
		}
		p.seen.metadata = true
		return p.children(p.metadata)
	case "policy_published":
		if p.seen.policy {
			return fmt.Errorf("%w: two policy_published", ErrReport)
		}
		p.seen.policy = true
		return p.children(p.policy)
	case "record":
		if len(p.a.Rows) == maxRows {
			return fmt.Errorf("%w: over %d records", ErrReportSize, maxRows)
		}
		return p.record()
	}
	return p.skip()
}

func (p *parser) metadata(name string) (err error) {
	switch name {
	case "org_name":
		return p.into(&p.a.Org)
	case "email":
		return p.into(&p.a.Email)
	case "extra_contact_info":
		return p.into(&p.a.Contact)
	case "report_id":
		return p.into(&p.a.ReportID)
	case "generator":
		return p.into(&p.a.Generator)
	case "error":
		s, err := p.text(maxText)
		if len(p.a.Errors) < maxErrors && s != "" {
			p.a.Errors = append(p.a.Errors, s)
		}
		return err
	case "date_range":
		return p.children(func(name string) error {
			switch name {
			case "begin":
				p.a.Begin, err = p.time("begin")
			case "end":
				p.a.End, err = p.time("end")
			default:
				err = p.skip()
			}
			return err
		})
	}
	return p.skip()
}

// time reads seconds since 1970.
func (p *parser) time(what string) (time.Time, error) {
	n, err := p.number(what, latest.Unix())
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(n, 0).UTC(), nil
}

func (p *parser) policy(name string) error {
	out := &p.a.Published
	policies := []string{string(None), string(Quarantine), string(Reject)}
	modes := []string{string(Relaxed), string(Strict)}
	switch name {
	case "domain":
		return p.domain(&out.Domain)
	case "p":
		return p.word((*string)(&out.Policy), "", policies...)
	case "sp":
		return p.word((*string)(&out.Subdomain), "", policies...)
	case "np":
		return p.word((*string)(&out.NonExistent), "", policies...)
	case "adkim":
		return p.word((*string)(&out.DKIM), "", modes...)
	case "aspf":
		return p.word((*string)(&out.SPF), "", modes...)
	case "fo":
		return p.into(&out.Options)
	case "testing":
		var s string
		err := p.word(&s, "n", "y")
		out.Testing = s == "y"
		return err
	case "discovery_method":
		return p.word(&out.Discovery, "", "psl", "treewalk")
	}
	return p.skip()
}

// check judges what was read.
func (p *parser) check() error {
	a := p.a
	if !p.seen.metadata || !p.seen.policy {
		return fmt.Errorf("%w: no report_metadata or no policy_published", ErrReport)
	}
	if a.Org == "" && a.Email == "" {
		return fmt.Errorf("%w: it does not say who reports", ErrReport)
	}
	if a.Org == "" {
		a.Org = a.Email
	}
	if a.ReportID == "" {
		return fmt.Errorf("%w: it has no report_id", ErrReport)
	}
	domain, err := normal(a.Published.Domain)
	if err != nil {
		return fmt.Errorf("%w: policy_published is of no domain: %w", ErrReport, err)
	}
	a.Published.Domain = domain
	if a.Begin.Before(earliest) || a.End.Before(a.Begin) || a.End.Sub(a.Begin) > maxSpan {
		return fmt.Errorf("%w: it is about %s to %s", ErrReport, a.Begin.Format(time.RFC3339), a.End.Format(time.RFC3339))
	}
	return nil
}

// address reads an IP address: no zone, no port, no network.
func (p *parser) address() (netip.Addr, error) {
	s, err := p.text(maxText)
	if err != nil {
		return netip.Addr{}, err
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%w: %.60q is no IP address", ErrReport, s)
	}
	return addr.Unmap(), nil
}
