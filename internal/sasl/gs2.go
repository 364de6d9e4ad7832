package sasl

import (
	"encoding/base64"
	"strings"
)

// strictBase64 is RFC 4648 §4 with its padding, and with the unused bits zero.
var strictBase64 = base64.StdEncoding.Strict()

// gs2 is the header that messages of SCRAM and OAUTHBEARER begin with (RFC 5801
// §4).
type gs2 struct {
	flag    byte   // n: no channel binding; y: the client could, if the server would; p: with it
	binding string // name of the binding's type, with p
	authzid string // decoded
	text    string // as it was sent, with the last comma
}

// parseGS2 reads the header and returns what is behind it.
func parseGS2(s string) (h gs2, rest string, ok bool) {
	flag, after, ok1 := strings.Cut(s, ",")
	authzid, rest, ok2 := strings.Cut(after, ",")
	if !ok1 || !ok2 {
		return h, "", false
	}
	h.text = s[:len(s)-len(rest)]
	switch name, isP := strings.CutPrefix(flag, "p="); {
	case flag == "n", flag == "y":
		h.flag = flag[0]
	case isP && validBindingName(name):
		h.flag, h.binding = 'p', name
	default: // F as well: neither mechanism has a form without the GSS-API header
		return h, "", false
	}
	if authzid == "" {
		return h, rest, true
	}
	name, ok := strings.CutPrefix(authzid, "a=")
	if !ok {
		return h, "", false
	}
	h.authzid, ok = decodeName(name)
	return h, rest, ok
}

// validBindingName is cb-name of RFC 5801 §4.
func validBindingName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == ""
}

// decodeName reads a saslname (RFC 5801 §4): "=" and "," stand as =3D and =2C,
// and nothing else is encoded.
func decodeName(s string) (string, bool) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, "=")
		if strings.ContainsAny(plain, ",\x00") {
			return "", false
		}
		b.WriteString(plain)
		if !found {
			return b.String(), b.Len() > 0
		}
		switch {
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = rest[2:]
	}
}

var nameEncoder = strings.NewReplacer("=", "=3D", ",", "=2C")

// encodeName writes a saslname.
func encodeName(s string) string { return nameEncoder.Replace(s) }
