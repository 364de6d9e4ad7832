package config

// Watch says what helps to notice what is odd.
type Watch struct {
	// A MaxMind DB file with the places of addresses (country or city), your own: none
	// comes with postern. It is read anew when it changes. Empty: places are networks
	// only.
	Places string `toml:"places" need:"restart"`

	// A MaxMind DB file with the autonomous systems of addresses.
	Networks string `toml:"networks" need:"restart"`
}
