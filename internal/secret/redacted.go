package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// redactedText is what a secret looks like wherever it is printed.
const redactedText = "[redacted]"

// Redacted is a string that prints, logs and marshals as "[redacted]".
type Redacted string

// Reveal returns the secret itself. Every call is a place to look at in review.
func (r Redacted) Reveal() string { return string(r) }

// String implements fmt.Stringer.
func (r Redacted) String() string { return redactedText }

// Format implements fmt.Formatter, so that no verb (%x, %q, %#v) shows the secret.
func (r Redacted) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedText) }

// LogValue implements slog.LogValuer.
func (r Redacted) LogValue() slog.Value { return slog.StringValue(redactedText) }

// MarshalJSON implements json.Marshaler.
func (r Redacted) MarshalJSON() ([]byte, error) { return []byte(`"` + redactedText + `"`), nil }

// MarshalText implements encoding.TextMarshaler.
func (r Redacted) MarshalText() ([]byte, error) { return []byte(redactedText), nil }
