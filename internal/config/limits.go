package config

import "net/netip"

// Limits bounds what one client, and all of them together, may use. Reaching
// one is answered with a temporary error, except for what can never fit.
type Limits struct {
	// Octets of a command line, with its CRLF.
	CommandLine int `toml:"command_line" range:"512..65536"`

	// Octets of a line of an AUTH exchange (RFC 4954 §4.5).
	AuthLine int `toml:"auth_line" range:"1024..65536"`

	// Octets of one line of message text as it is received. What leaves has at
	// most 998 (see submit.long_lines).
	TextLine Size `toml:"text_line" range:"998..16MiB"`

	// Octets of a message's header section.
	HeaderBytes Size `toml:"header_bytes" range:"4KiB..4MiB"`

	// Fields of a message's header section.
	HeaderFields int `toml:"header_fields" range:"50..20000"`

	// Octets of a message as it is handed in (SIZE, RFC 1870).
	MessageSize Size `toml:"message_size" range:"64KiB..1GiB"`

	// Recipients of one message.
	Recipients int `toml:"recipients" range:"100..100000"`

	// Messages of one session.
	MessagesPerSession int `toml:"messages_per_session" range:"1..1000000"`

	// Commands between two messages, such as NOOP, RSET and VRFY.
	CommandsPerSession int `toml:"commands_per_session" range:"10..1000000"`

	// Commands of one session that end in an error.
	ErrorsPerSession int `toml:"errors_per_session" range:"1..10000"`

	// Failed logins of one session.
	AuthFailures int `toml:"auth_failures" range:"1..10"`

	// SMTP connections at once, over all listeners.
	Connections int `toml:"connections" range:"1..1000000"`

	// SMTP connections at once from one IPv4 address or one IPv6 /64; an IPv6 /48
	// gets four times as many. It shrinks to a quarter when half of all connections
	// are in use, and to a sixteenth when three quarters are, unless it is more than a
	// fifth of them.
	ConnectionsPerAddress int `toml:"connections_per_address" range:"1..1000000"`

	// How long a session may wait for the next command.
	Idle Duration `toml:"idle" range:"10s..1h"`

	// How long a TLS handshake may take.
	Handshake Duration `toml:"handshake" range:"1s..2m"`

	// How long a session may wait for the next octets of message text.
	DataBlock Duration `toml:"data_block" range:"10s..1h"`

	// How long one message may take from DATA to its end.
	MessageTime Duration `toml:"message_time" range:"1m..24h"`

	// Octets a second that message text must arrive with after its first minute.
	// 0: any rate.
	MinimumRate Size `toml:"minimum_rate" range:"0..1MiB"`

	// How long the client may take to read a reply.
	Write Duration `toml:"write" range:"1s..10m"`

	// Octets of message text that all sessions together may hold in memory.
	OctetsInFlight Size `toml:"octets_in_flight" range:"1MiB..1TiB"`
}

// Submit says how messages are taken in.
type Submit struct {
	// A text part with a line over 998 octets is re-encoded as quoted-printable
	// before signing ("encode"), or the message is refused ("refuse").
	LongLines string `toml:"long_lines" one:"encode|refuse"`

	// What becomes of a message whose X-SMTPAPI header has a key that postern does
	// not serve: refused with 554, or sent without it and the key recorded.
	XSMTPAPIUnknown string `toml:"xsmtpapi_unknown" one:"refuse|ignore"`

	// Received fields after which a message is taken to be in a loop.
	MaxHops int `toml:"max_hops" range:"10..1000"`
}

// Queue says how mail waits. Accounts and pools can have schedules of their own.
type Queue struct {
	// Octets of message bodies that the queue keeps in memory; beyond it they are
	// read again from the store.
	Memory Size `toml:"memory" range:"1MiB..1TiB"`

	// Recipients that the queue keeps in memory ahead of their attempts.
	MemoryRecipients int `toml:"memory_recipients" range:"100..10000000"`

	// Delivery attempts at once, in all.
	Concurrency int `toml:"concurrency" range:"1..100000" need:"restart"`

	// Delivery attempts at once to one destination. It is reached in steps while
	// the destination keeps up.
	PerDestination int `toml:"per_destination" range:"1..10000"`

	// The waits after the 1st, 2nd, … failed attempt, each varied by 20 %; the last
	// repeats.
	Intervals []Duration `toml:"intervals"`

	// How long after acceptance a message is tried before it bounces.
	Lifetime Duration `toml:"lifetime" range:"1m..30d"`

	// When the sender is told that a message still waits, if asked for
	// (NOTIFY=DELAY).
	DelayNotice Duration `toml:"delay_notice" range:"1m..30d"`

	// How long a stop waits for attempts and sessions that are under way.
	DrainTime Duration `toml:"drain_time" range:"1s..10m"`
}

// Deliver says how mail leaves.
type Deliver struct {
	// The port of the recipients' mail servers. Anything but 25 is for labs.
	Port int `toml:"port" range:"1..65535"`

	// Networks of private or loopback addresses that mail may be delivered to; all
	// others of those are refused when dialled.
	AllowNetworks []netip.Prefix `toml:"allow_networks"`

	// DNS servers, "address" or "address:port". Empty: those of /etc/resolv.conf.
	DNSServers []string `toml:"dns_servers" need:"restart"`

	// Believe the "authentic data" flag of dns_servers that are not on loopback.
	// Only for a validating resolver on a network that nobody else can write to.
	TrustAD bool `toml:"trust_ad" need:"restart"`

	// Deliver over IPv6 too.
	IPv6 bool `toml:"ipv6"`

	// The TLS that every destination must have: "opportunistic", "required" (any
	// certificate) or "verified" (a certificate valid for the mail server's name).
	// Destinations, pools and accounts can ask for more.
	TLS TLSLevel `toml:"tls" one:"opportunistic|required|verified"`

	// PEM certificates that verified destinations are judged by. Empty: the
	// system's.
	CAFile string `toml:"ca_file"`

	// Time to connect, for each address.
	ConnectTimeout Duration `toml:"connect_timeout" range:"1s..5m"`

	// Time for the greeting and for each of EHLO, MAIL and RCPT (RFC 5321
	// §4.5.3.2).
	CommandTimeout Duration `toml:"command_timeout" range:"1s..30m"`

	// Time for each block of message text.
	DataTimeout Duration `toml:"data_timeout" range:"1s..30m"`

	// Time for the answer to the end of data. Too short a time makes duplicates.
	EndOfDataTimeout Duration `toml:"end_of_data_timeout" range:"10s..1h"`

	// Idle sessions kept open for the next message, in all.
	IdleSessions int `toml:"idle_sessions" range:"0..100000"`

	// How long an idle session is kept open.
	IdleTimeout Duration `toml:"idle_timeout" range:"1s..5m"`

	// Messages over one session.
	MessagesPerSession int `toml:"messages_per_session" range:"1..100000"`

	Destinations []Destination `toml:"destination"`
}

// TLSLevel is the TLS that a destination must have.
type TLSLevel string

// The levels, weakest first.
const (
	TLSOpportunistic TLSLevel = "opportunistic" // use it when offered
	TLSRequired      TLSLevel = "required"      // or wait
	TLSVerified      TLSLevel = "verified"      // with a valid certificate, or wait
)

// Destination is what is special about one recipient domain.
type Destination struct {
	// The domain; ".example.net" stands for all names below it.
	Domain string `toml:"domain" sample:"partner.example"`

	// As deliver.tls. Empty: that one.
	TLS TLSLevel `toml:"tls" one:"|opportunistic|required|verified" sample:"verified"`

	// "host:port" to deliver to in place of the domain's mail servers. Empty: its
	// mail servers.
	Route string `toml:"route" sample:""`
}
