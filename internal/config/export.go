package config

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Export is a system that gets login records, changes and message events.
type Export struct {
	// What to call it: lower-case letters, digits and hyphens. How far it has come is
	// kept under this name; another name begins anew.
	Name string `toml:"name" need:"restart" sample:"siem"`

	// "syslog" (RFC 5424 over TLS), "file" (lines of JSON), "webhook" (JSON, signed) or
	// "otlp" (OpenTelemetry logs over HTTP).
	Kind string `toml:"kind" need:"restart" one:"syslog|file|webhook|otlp" sample:"syslog"`

	// Where to: "host:port" of a syslog server, the path of a file, the URL of a webhook
	// or of a collector.
	To string `toml:"to" need:"restart" sample:"logs.example.org:6514"`

	// What is sent, of logins, changes and events. Empty: all three.
	Streams []string `toml:"streams" need:"restart"`

	// Begin with all that is kept, instead of with what happens from now on.
	All bool `toml:"all" need:"restart"`

	// Certificates (PEM) to trust instead of the system's.
	CAFile string `toml:"ca_file" need:"restart"`

	// A client certificate (PEM) for the server, and its key. Set both or neither.
	Certificate string `toml:"certificate" need:"restart"`

	// The key of certificate, PEM.
	Key string `toml:"key" need:"restart"`

	// webhook: the file with the secret that signs ("whsec_" and base64); two lines are
	// the new and the old one while it changes. otlp: lines of "Header: value" to send
	// along. Nobody but postern should be able to read it.
	SecretFile string `toml:"secret_file" need:"restart"`

	// file: put aside when it would grow beyond this. 0: never for its size.
	RotateSize Size `toml:"rotate_size" range:"0..1TiB" need:"restart"`

	// file: put aside when it is so old. 0s: never for its age.
	RotateAge Duration `toml:"rotate_age" range:"0s..3650d" need:"restart"`

	// file: how many that were put aside are kept. 0: all.
	RotateKeep int `toml:"rotate_keep" range:"0..100000" need:"restart"`

	// The target is in your own network: private addresses, and for otlp plain http,
	// are allowed.
	Private bool `toml:"private" need:"restart"`
}

var exportName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// exportStreams are what can be sent.
var exportStreams = []string{"logins", "changes", "events"}

func (c *Config) checkExports(v *checker) {
	seen := map[string]bool{}
	for i := range c.Exports {
		e, key := &c.Exports[i], "export["+strconv.Itoa(i)+"]"
		switch {
		case !exportName.MatchString(e.Name):
			v.fail(key+".name", "%q is not a name: up to 32 lower-case letters, digits and hyphens", e.Name)
		case seen[e.Name]:
			v.fail(key+".name", "%q is there twice", e.Name)
		}
		seen[e.Name] = true
		for n, s := range e.Streams {
			if !slices.Contains(exportStreams, s) {
				v.fail(key+".streams["+strconv.Itoa(n)+"]", "%q is not possible; choose %s", s, quotedList(exportStreams))
			}
		}
		if (e.Certificate == "") != (e.Key == "") {
			v.fail(key+".certificate", "set certificate and key together, or neither")
		}
		if text := e.toText(); text != "" {
			v.fail(key+".to", "%s", text)
		}
		if e.Kind == "webhook" && e.SecretFile == "" {
			v.fail(key+".secret_file", "is required: what is posted is signed with it")
		}
	}
}

// toText says how the target's place is wrong; "" if it is right.
func (e *Export) toText() string {
	switch e.Kind {
	case "syslog":
		host, port, ok := strings.Cut(e.To, ":")
		if strings.HasPrefix(e.To, "[") {
			i := strings.LastIndexByte(e.To, ':')
			if i < 0 {
				return strconv.Quote(e.To) + " is not \"host:port\""
			}
			host, port, ok = e.To[:i], e.To[i+1:], true
		}
		if n, err := strconv.ParseUint(port, 10, 16); !ok || host == "" || err != nil || n == 0 {
			return strconv.Quote(e.To) + " is not \"host:port\"; syslog over TLS has port 6514"
		}
	case "file":
		if e.To == "" {
			return "is required: the path of the file"
		}
	case "webhook", "otlp":
		u, err := url.Parse(e.To)
		switch {
		case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
			return strconv.Quote(e.To) + " is not a URL, such as https://logs.example.org"
		case u.Scheme == "http" && e.Kind == "otlp" && e.Private:
		case u.Scheme != "https":
			return strconv.Quote(e.To) + " must start with https:// (http:// only for otlp with private = true)"
		}
	}
	return ""
}
