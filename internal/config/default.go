package config

import (
	"slices"
	"time"

	"postern/internal/secret"
)

// Default is the configuration of an empty file. It lacks hostname, data_dir
// and contact, which have no default, and so does not validate.
func Default() *Config {
	return &Config{
		Store: Store{
			MinFree:    256 << 20,
			KeepEvents: Duration{30 * day},
			KeepLogins: Duration{400 * day},
		},
		TLS:    TLS{Minimum: "1.2"},
		Listen: defaultListeners(),
		Keys:   Keys{Prefix: secret.DefaultPrefix},
		Auth:   Auth{Failures: 20, KeyFailures: 50, RequestsPerMinute: 600, MaxKeys: 100},
		Limits: defaultLimits(),
		Submit: Submit{LongLines: "encode", XSMTPAPIUnknown: "refuse", MaxHops: 100},
		Queue:  defaultQueue(),
		Deliver: Deliver{
			Port: 25, IPv6: true, TLS: TLSOpportunistic,
			ConnectTimeout:   Duration{30 * time.Second},
			CommandTimeout:   Duration{5 * time.Minute},
			DataTimeout:      Duration{3 * time.Minute},
			EndOfDataTimeout: Duration{10 * time.Minute},
			IdleSessions:     500, IdleTimeout: Duration{15 * time.Second}, MessagesPerSession: 100,
		},
		Sign: Sign{Backend: "auto"},
		DNS:  DNS{Listen: []string{"0.0.0.0:53", "[::]:53"}, AnswersPerSecond: 100, AskPort: 53},
		Domains: Domains{
			CheckEvery: Duration{day}, ChecksPerMinute: 120, Grace: Duration{3 * day}, Pause: Duration{4 * day},
			RotateEvery: Duration{180 * day}, KeyOverlap: Duration{10 * day}, RSABits: 2048, Max: 3000,
			KeepReports: Duration{400 * day},
		},
		Intake: Intake{MessageSize: 10 << 20, PerMinute: 600},
		HTTP:   HTTP{Listen: []string{"127.0.0.1:8025"}},
		People: People{SessionIdle: Duration{30 * time.Minute}, SessionLife: Duration{12 * time.Hour}, Fresh: Duration{5 * time.Minute}},
		Admin:  Admin{Listen: "127.0.0.1:9025"},
		Log:    Log{Level: "info", Format: "json"},
	}
}

// defaultListeners are the ports of RFC 6409 and RFC 8314, 2525 for networks
// that block 587, and 25.
func defaultListeners() []Listener {
	return []Listener{
		{
			Name: "submission", Role: RoleSubmission, TLS: TLSStart, Mechanisms: slices.Clone(dropInMechanisms),
			Addresses: []string{"0.0.0.0:587", "[::]:587", "0.0.0.0:2525", "[::]:2525"},
		},
		{
			Name: "submissions", Role: RoleSubmission, TLS: TLSImplicit, Mechanisms: slices.Clone(defaultMechanisms),
			Addresses: []string{"0.0.0.0:465", "[::]:465"},
		},
		{
			Name: "mx", Role: RoleMX, TLS: TLSStart, Mechanisms: slices.Clone(dropInMechanisms),
			Addresses: []string{"0.0.0.0:25", "[::]:25"},
		},
	}
}

func defaultLimits() Limits {
	return Limits{
		CommandLine: 4096, AuthLine: 12288, TextLine: 1 << 20,
		HeaderBytes: 256 << 10, HeaderFields: 1000,
		MessageSize: 31457280, Recipients: 1000,
		MessagesPerSession: 1000, CommandsPerSession: 100, ErrorsPerSession: 20, AuthFailures: 3,
		Connections: 5000, ConnectionsPerAddress: 250,
		Idle: Duration{5 * time.Minute}, Handshake: Duration{30 * time.Second},
		DataBlock: Duration{3 * time.Minute}, MessageTime: Duration{time.Hour}, MinimumRate: 128,
		Write: Duration{time.Minute}, OctetsInFlight: 512 << 20,
	}
}

func defaultQueue() Queue {
	var waits []Duration
	for _, d := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour} {
		waits = append(waits, Duration{d})
	}
	return Queue{
		Memory: 128 << 20, MemoryRecipients: 20000,
		Concurrency: 500, PerDestination: 20,
		Intervals: waits, Lifetime: Duration{4 * day}, DelayNotice: Duration{4 * time.Hour},
		DrainTime: Duration{25 * time.Second},
	}
}
