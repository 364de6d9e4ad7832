package forge

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"
	"golang.org/x/net/idna"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/unicode/norm"
)

// shown is what one reader makes of a message: authors, as addresses, and the
// names beside them.
type shown struct {
	Reader  string   `json:"reader"`
	Authors []string `json:"authors"`
	Names   []string `json:"names"`
}

// authorFields are those that say who wrote.
var authorFields = []string{"From", "Sender", "Resent-From", "Resent-Sender"}

func init() { message.CharsetReader = charsetReader }

// charsetReader knows all charsets that golang.org/x/text does.
func charsetReader(name string, in io.Reader) (io.Reader, error) {
	if e, err := htmlindex.Get(name); err == nil {
		return e.NewDecoder().Reader(in), nil
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e.NewDecoder().Reader(in), nil
	}
	return nil, fmt.Errorf("charset %q", name)
}

var wordDecoder = &mime.WordDecoder{CharsetReader: charsetReader}

// readStd is Go's net/mail.
func readStd(raw []byte) shown {
	out := shown{Reader: "net/mail"}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return out
	}
	p := mail.AddressParser{WordDecoder: wordDecoder}
	for _, f := range authorFields {
		for _, v := range m.Header[f] {
			list, err := p.ParseList(v)
			if err != nil {
				continue
			}
			for _, a := range list {
				out.Authors, out.Names = append(out.Authors, a.Address), append(out.Names, a.Name)
			}
		}
	}
	return out
}

// readGoMessage is emersion's library.
func readGoMessage(raw []byte) shown {
	out := shown{Reader: "go-message"}
	r, err := gomail.CreateReader(bytes.NewReader(raw))
	if err != nil && r == nil {
		return out
	}
	defer r.Close()
	for _, f := range authorFields {
		list, _ := r.Header.AddressList(f)
		for _, a := range list {
			out.Authors, out.Names = append(out.Authors, a.Address), append(out.Names, a.Name)
		}
		if text, err := r.Header.Text(f); err == nil && text != "" {
			out.Names = append(out.Names, text) // what a program shows that does not parse
		}
	}
	return out
}

var (
	// anAddress is what a person, or a program that makes links, takes for one.
	anAddress = regexp.MustCompile(`([^\s@<>"(),;:\[\]]+)@([\p{L}\p{N}\p{M}_-]+(?:\.[\p{L}\p{N}\p{M}_-]+)*\.[\p{L}\p{N}\p{M}_-]{2,})`)
	// hidden is what deceives.
	hidden = regexp.MustCompile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\u200b\u2060\ufeff\u00ad\x00-\x08\x0a-\x1f]")
)

// unfolded undoes folding that a reader has left in.
var unfolded = strings.NewReplacer("\r\n ", " ", "\r\n\t", " ", "\n ", " ", "\n\t", " ")

// foreign is the first author that a reader shows and the sender does not own; ""
// if there is none.
func (r *shown) foreign(s *sender) string {
	for _, a := range r.Authors {
		if bad := foreignIn(s, a); bad != "" {
			return "author " + bad
		}
	}
	for _, n := range r.Names {
		if bad := foreignIn(s, n); bad != "" {
			return "name " + bad
		}
		if hidden.MatchString(unfolded.Replace(n)) {
			return fmt.Sprintf("name with hidden characters %q", n)
		}
	}
	return ""
}

// foreignIn finds a foreign address in a text.
func foreignIn(s *sender, text string) string {
	folded := norm.NFKC.String(strings.ToValidUTF8(text, "\ufffd"))
	for _, m := range anAddress.FindAllStringSubmatchIndex(folded, -1) {
		if strings.HasPrefix(folded[m[1]:], "\ufffd") {
			continue // the reader itself has lost what stands there
		}
		if !ownsShown(s, folded[m[2]:m[3]], folded[m[4]:m[5]]) {
			return fmt.Sprintf("%q in %q", folded[m[0]:m[1]], text)
		}
	}
	return ""
}

func ownsShown(s *sender, local, domain string) bool {
	domain = strings.TrimRight(domain, ".-")
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		ascii = domain
	}
	local = strings.TrimPrefix(local, "mailto:")
	if unquoted, ok := strings.CutPrefix(local, `"`); ok {
		local = strings.TrimSuffix(unquoted, `"`)
	}
	return s.owns(local, ascii)
}

// asText is octets as a reader that guesses shows them.
func asText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}
