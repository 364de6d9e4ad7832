package smtp

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// MaxLabel is the length of one label of a domain in octets (RFC 1035 §2.3.4).
const MaxLabel = 63

// idnaProfile is IDNA2008 with the look-up mapping of UTS 46, non-transitional.
var idnaProfile = sync.OnceValue(func() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(),
		idna.StrictDomainName(true), idna.VerifyDNSLength(true))
})

// DomainToASCII validates a domain of letters, digits, hyphens and U-labels and
// returns it in lower-case A-labels. There is one spelling of a name only: a
// trailing dot, a look-alike of the dot, characters that look-up would silently
// drop or fold (other than case), an A-label that is not its own U-label's, and
// a name that ends in a number are all refused. Errors wrap ErrAddress or
// ErrAddressLength.
func DomainToASCII(s string) (string, error) {
	if len(s) > MaxDomain {
		return "", fmt.Errorf("%w: domain of %d octets", ErrAddressLength, len(s))
	}
	ascii := strings.ToLower(s)
	if !isASCII(s) {
		a, err := fromULabels(s)
		if err != nil {
			return "", err
		}
		ascii = a
	}
	if err := checkLabels(ascii); err != nil {
		return "", err
	}
	return ascii, nil
}

// fromULabels converts, and makes sure that nothing but case and composition
// was changed by the mapping: two programs must not read two names here.
func fromULabels(s string) (string, error) {
	ascii, err := idnaProfile().ToASCII(s)
	if err != nil {
		return "", fmt.Errorf("%w: domain: %v", ErrAddress, err)
	}
	back, err := idnaProfile().ToUnicode(ascii)
	if err != nil {
		return "", fmt.Errorf("%w: domain: %v", ErrAddress, err)
	}
	// Labels given as A-labels come back as U-labels; compare label by label.
	given, unicode := strings.Split(s, "."), strings.Split(back, ".")
	if len(given) != len(unicode) {
		return "", fmt.Errorf("%w: domain is not in its own form", ErrAddress)
	}
	for i, label := range given {
		if isASCII(label) {
			continue // checkLabels judges it
		}
		if norm.NFC.String(strings.ToLower(label)) != unicode[i] {
			return "", fmt.Errorf("%w: domain is not in its own form", ErrAddress)
		}
	}
	return ascii, nil
}

// checkLabels applies RFC 1035 §2.3.1 and RFC 1123 §2.1 to a lower-case ASCII
// domain, and validates its A-labels.
func checkLabels(s string) error {
	if len(s) > MaxDomain {
		return fmt.Errorf("%w: domain of %d octets", ErrAddressLength, len(s))
	}
	label := ""
	for rest, more := s, true; more; {
		label, rest, more = strings.Cut(rest, ".")
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	if endsInNumber(label) {
		return fmt.Errorf("%w: domain ends in a number", ErrAddress)
	}
	return nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return fmt.Errorf("%w: empty label in the domain", ErrAddress)
	case len(label) > MaxLabel:
		return fmt.Errorf("%w: label of %d octets", ErrAddressLength, len(label))
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("%w: label begins or ends with a hyphen", ErrAddress)
	}
	for i := 0; i < len(label); i++ {
		if c := label[i]; !isAlnum(c) && c != '-' {
			return fmt.Errorf("%w: octet 0x%02x in the domain", ErrAddress, c)
		}
	}
	if !strings.HasPrefix(label, "xn--") {
		return nil
	}
	u, err := idnaProfile().ToUnicode(label)
	if err != nil || u == label {
		return fmt.Errorf("%w: invalid A-label", ErrAddress)
	}
	if back, err := idnaProfile().ToASCII(u); err != nil || back != label {
		return fmt.Errorf("%w: invalid A-label", ErrAddress)
	}
	return nil
}

// endsInNumber reports a last label that resolvers of the inet_aton kind take
// for (part of) an IPv4 address: decimal, octal or hexadecimal.
func endsInNumber(label string) bool {
	digits, set := label, "0123456789"
	if strings.HasPrefix(label, "0x") {
		digits, set = label[2:], "0123456789abcdef"
	}
	return strings.Trim(digits, set) == ""
}

// parseLiteral reads "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3).
func parseLiteral(s string) (string, error) {
	in, ok := strings.CutSuffix(strings.TrimPrefix(s, "["), "]")
	if !ok {
		return "", fmt.Errorf("%w: address literal without its end", ErrAddress)
	}
	v6 := len(in) > 5 && strings.EqualFold(in[:5], "IPv6:")
	if v6 {
		in = in[5:]
	}
	addr, err := netip.ParseAddr(in)
	if err != nil || addr.Zone() != "" || addr.Is4() == v6 {
		return "", fmt.Errorf("%w: invalid address literal", ErrAddress)
	}
	return strings.ToLower(s), nil
}
