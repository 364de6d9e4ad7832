// Package config reads postern's configuration: one strict TOML file. It turns
// the file into a Config or into a list of problems, each with file, line and
// what to do; it never opens a socket, a certificate or a store.
//
// Its one invariant: a Config that Load returned is complete and safe. A key
// that is not known, a value out of its range, a listener without TLS or a
// public HTTP address without TLS never loads.
//
// The comments of the exported fields are the documentation: "postern config
// example", docs/config.toml and docs/config.md are made from them and from the
// field tags. The tags are
//
//	toml    the key
//	range   lowest and highest value, "1..100"; for sizes and durations in
//	        their own units, "1KiB..1GiB"
//	one     the closed set of values, "a|b"
//	need    "restart": a reload refuses to change it
//	sample  the value that the example shows where there is no default
package config

import "net/netip"

//go:generate go run ./gen

// Role says what a listener is for.
type Role string

// The roles.
const (
	RoleSubmission Role = "submission" // mail is taken after AUTH only
	RoleMX         Role = "mx"         // takes mail for postern's own addresses; with AUTH under TLS it is a submission port
)

// TLSMode says when TLS starts on a listener.
type TLSMode string

// The modes. There is none without TLS.
const (
	TLSStart    TLSMode = "starttls" // after STARTTLS (RFC 3207)
	TLSImplicit TLSMode = "implicit" // from the first octet (RFC 8314)
)

// Config is the whole configuration.
type Config struct {
	// The name of this relay: a full host name that resolves to it. It is said in
	// greetings and EHLO, stands in trace headers and is the system domain unless
	// another was chosen at init.
	Hostname string `toml:"hostname" need:"restart" sample:"relay.example.org"`

	// The directory that holds everything durable: database, sealing key,
	// self-signed certificate and admin.sock. A relative path counts from the
	// directory of this file.
	DataDir string `toml:"data_dir" need:"restart" sample:"/var/lib/postern"`

	// The operator's address. Mail to postmaster@ and abuse@ of postern's own
	// names goes there.
	Contact string `toml:"contact" sample:"postmaster@example.org"`

	Store   Store      `toml:"store"`
	TLS     TLS        `toml:"tls"`
	Listen  []Listener `toml:"listener" need:"restart"`
	Keys    Keys       `toml:"keys"`
	Auth    Auth       `toml:"auth"`
	Issuers []Issuer   `toml:"issuer" need:"restart"`
	Limits  Limits     `toml:"limits"`
	Submit  Submit     `toml:"submit"`
	Queue   Queue      `toml:"queue"`
	Deliver Deliver    `toml:"deliver"`
	Sign    Sign       `toml:"sign"`
	DNS     DNS        `toml:"dns"`
	Domains Domains    `toml:"domains"`
	Intake  Intake     `toml:"intake"`
	HTTP    HTTP       `toml:"http"`
	People  People     `toml:"people"`
	SSO     []SSO      `toml:"sso" need:"restart"`
	Watch   Watch      `toml:"watch"`
	Exports []Export   `toml:"export" need:"restart"`
	Admin   Admin      `toml:"admin"`
	Log     Log        `toml:"log"`

	// Path is the file that Load read; empty for a Config made in code.
	Path string `toml:"-"`
}

// Store says where accounts, queue and history live.
type Store struct {
	// A PostgreSQL URL, "postgres://user@host/database". Empty: SQLite in data_dir.
	// Keep passwords out of this file: use a pgpass file or a service.
	URL Secret `toml:"url" need:"restart"`

	// The file with the sealing key that protects DKIM keys and bodies at rest. All
	// nodes of one database share it. Empty: sealing.key in data_dir.
	SealingKey string `toml:"sealing_key" need:"restart"`

	// When less than this is free on the file system of data_dir, new mail is
	// answered "452 4.3.1"; deliveries go on.
	MinFree Size `toml:"min_free" range:"0..1TiB" need:"restart"`

	// How long bodies are kept after the last recipient is final. 0s: not at all.
	KeepBodies Duration `toml:"keep_bodies" range:"0s..90d" need:"restart"`

	// How long message events are kept.
	KeepEvents Duration `toml:"keep_events" range:"1d..3650d" need:"restart"`

	// How long login records are kept. Administrative changes stay until "postern audit
	// prune" removes them.
	KeepLogins Duration `toml:"keep_logins" range:"1d..3650d" need:"restart"`
}

// TLS names the certificate of every listener.
type TLS struct {
	// The certificate chain, PEM, the server's own first. Changes on disk are
	// picked up within 10 s; a new file that cannot be used leaves the old in use.
	// Empty: the self-signed certificate that init made in data_dir.
	Certificate string `toml:"certificate" need:"restart"`

	// The certificate's private key, PEM. Set both or neither.
	Key string `toml:"key" need:"restart"`

	// The lowest TLS version that clients may use.
	Minimum string `toml:"minimum" one:"1.2|1.3" need:"restart"`
}

// Listener is a set of SMTP addresses of one kind.
type Listener struct {
	// Appears in logs, login records and metrics: lower-case letters, digits and
	// hyphens.
	Name string `toml:"name" sample:"submission"`

	// "submission": mail is taken only after AUTH. "mx": takes bounces, reports and
	// mail to abuse@ and postmaster@ from anyone, and nothing else; with AUTH under
	// TLS it is a submission port too.
	Role Role `toml:"role" one:"submission|mx" sample:"submission"`

	// Where to listen, "address:port"; IPv6 in brackets. 0.0.0.0 is all of IPv4 and
	// [::] all of IPv6, each without the other.
	Addresses []string `toml:"addresses" sample:"0.0.0.0:587,[::]:587"`

	// "starttls" or "implicit" (TLS from the first octet). AUTH is never possible
	// before TLS.
	TLS TLSMode `toml:"tls" one:"starttls|implicit" sample:"starttls"`

	// Accept a bare LF as the end of a line and turn it into CRLF, for clients that
	// cannot do better. The end of data stays CRLF.CRLF only. Submission only.
	NormaliseLineEnds bool `toml:"normalise_line_ends"`

	// How clients may log in, of PLAIN, LOGIN, XOAUTH2, OAUTHBEARER, SCRAM-SHA-256,
	// SCRAM-SHA-256-PLUS, EXTERNAL and CRAM-MD5. Empty: the first four, and with
	// implicit TLS the first six. SCRAM needs the key's id as user name: a client that
	// says apikey and chooses SCRAM by itself, as Postfix does, fails at first. With
	// EXTERNAL, clients are asked for a certificate. CRAM-MD5 works only with keys
	// that were made for it, and is weak.
	Mechanisms []string `toml:"mechanisms"`
}

// Auth says how programs prove who they are, and what guessing costs.
type Auth struct {
	// Allow app passwords: generated, for devices that cannot take a key. They are
	// shorter than keys and are reported as weak.
	AppPasswords bool `toml:"app_passwords" need:"restart"`

	// Failed logins from one address (an IPv4 address, an IPv6 /64) until it is
	// refused for a while, longer each time. Its network (/24, /48) gets eight
	// times as many.
	Failures int `toml:"failures" range:"5..1000" need:"restart"`

	// Failed logins with one key's id, from anywhere, until only places that the
	// key is known from may try it. An account gets ten times as many.
	KeyFailures int `toml:"key_failures" range:"10..10000" need:"restart"`

	// Requests to the HTTP API that one key may make in a minute; sending mail is
	// not counted. An account gets twice as many.
	RequestsPerMinute int `toml:"requests_per_minute" range:"10..1000000" need:"restart"`

	// API keys that an account or a subuser can have. The command line on the host
	// is not bound by it.
	MaxKeys int `toml:"max_keys" range:"1..1000000" need:"restart"`
}

// Issuer is an outside issuer of tokens that keys may be tied to (kind
// "federated"): programs then send with the identity that their platform gives
// them, and no secret is stored anywhere.
type Issuer struct {
	// The issuer exactly as it stands in tokens; its keys are found by OpenID
	// Connect discovery, unless jwks_url says where.
	URL string `toml:"url" need:"restart" sample:"https://token.actions.githubusercontent.com"`

	// Where its keys are, if it has no discovery document.
	JWKSURL string `toml:"jwks_url" need:"restart"`

	// The signature algorithms that are believed. Empty: RS256, ES256, PS256, EdDSA.
	Algorithms []string `toml:"algorithms" need:"restart"`

	// Where opaque tokens are looked up (RFC 7662); needs the two settings below.
	IntrospectionURL string `toml:"introspection_url" need:"restart"`

	// Who postern is there.
	ClientID string `toml:"client_id" need:"restart"`

	// The file with the secret of client_id. Nobody but postern should be able to
	// read it.
	ClientSecretFile string `toml:"client_secret_file" need:"restart"`

	// Certificates (PEM) to trust for its HTTPS instead of the system's.
	CAFile string `toml:"ca_file" need:"restart"`

	// The issuer is in your own network: private addresses are allowed.
	Private bool `toml:"private" need:"restart"`
}

// Keys says how the keys look that mail is handed in with.
type Keys struct {
	// What keys start with: 1 to 16 letters and digits, a letter first. Clients in
	// the field and scanners for leaked secrets know SG. Another prefix makes all
	// keys with the old one invalid.
	Prefix string `toml:"prefix" need:"restart"`
}

// Sign says how DKIM signatures are made.
type Sign struct {
	// "auto": the system's libcrypto where it is there and passes its self-test,
	// otherwise Go's own. "go": Go's own.
	Backend string `toml:"backend" one:"auto|go" need:"restart"`

	// Signatures made at once. 0: half of the CPUs, at least one.
	Workers int `toml:"workers" range:"0..1024" need:"restart"`
}

// Intake limits the mail that comes back: bounces and reports.
type Intake struct {
	// The largest message that is taken without AUTH.
	MessageSize Size `toml:"message_size" range:"64KiB..100MiB"`

	// Messages taken without AUTH in a minute, in all; more are answered 4yz.
	PerMinute int `toml:"per_minute" range:"1..1000000"`
}

// HTTP is the public HTTP listener.
type HTTP struct {
	// Where people reach this listener, "https://relay.example.org": links in mails
	// begin with it, and passkeys are bound to its host. Without it they
	// lead to hostname, where tls is set and an address of listen is not loopback; else
	// to this machine only, and single senders cannot be verified.
	URL string `toml:"url" need:"restart"`

	// Where the HTTP API listens. An address that is not loopback needs tls = true
	// or at least one proxy.
	Listen []string `toml:"listen" need:"restart"`

	// Serve HTTPS with the certificate of [tls].
	TLS bool `toml:"tls" need:"restart"`

	// Addresses or networks of reverse proxies that terminate HTTPS. Only from
	// them are X-Forwarded-For and X-Forwarded-Proto believed, and only requests
	// that they say came by https are served.
	Proxies []netip.Prefix `toml:"proxies" need:"restart"`
}

// Admin is the operator's listener; it needs no key and stays on loopback.
type Admin struct {
	// Where /metrics, /readyz and the profiles under /debug/pprof/ are served:
	// loopback only. Empty: nowhere. (The command line uses admin.sock instead.)
	Listen string `toml:"listen" need:"restart"`
}

// Log says what is logged, and where to.
type Log struct {
	// The least important level that is written.
	Level string `toml:"level" one:"debug|info|warn|error"`

	// The file to append to; it is opened anew on SIGHUP and SIGUSR1. Empty:
	// standard error.
	File string `toml:"file" need:"restart"`

	// One JSON object a line, or key=value text.
	Format string `toml:"format" one:"json|text" need:"restart"`
}
