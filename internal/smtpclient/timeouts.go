package smtpclient

import "time"

// Timeouts bound the waits of a session. A zero member takes its value from
// DefaultTimeouts.
type Timeouts struct {
	Greeting  time.Duration // for the banner
	Hello     time.Duration // for the reply to EHLO and HELO
	StartTLS  time.Duration // for the reply to STARTTLS, and again for the handshake
	Auth      time.Duration // for each reply to AUTH
	Mail      time.Duration // for the reply to MAIL
	Rcpt      time.Duration // for the reply to each RCPT
	Data      time.Duration // for the 354 to DATA
	Block     time.Duration // for one write of commands or content to be taken
	End       time.Duration // for the reply to the end of the data
	Reset     time.Duration // for the reply to RSET
	Quit      time.Duration // for the reply to QUIT
	Interrupt time.Duration // how long the reply to the end of the data is still awaited once the context is done

	// Transaction bounds a whole transaction up to the end of the data, however
	// often the host shows a sign of life: Transaction, and beside it the time that
	// the message takes at MinRate octets a second. The wait for the reply after it
	// is End in any case, so that slowness never makes duplicates.
	Transaction time.Duration
	MinRate     int64
}

// DefaultTimeouts are those of RFC 5321 §4.5.3.2, or longer, and bounds of our
// own where it has none.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		Greeting:    5 * time.Minute,  // §4.5.3.2.1
		Hello:       5 * time.Minute,  // §4.5.3.2.2 has no word on EHLO; as for MAIL
		StartTLS:    2 * time.Minute,  // ours
		Auth:        3 * time.Minute,  // RFC 4954 §4
		Mail:        5 * time.Minute,  // §4.5.3.2.2
		Rcpt:        5 * time.Minute,  // §4.5.3.2.3
		Data:        2 * time.Minute,  // §4.5.3.2.4
		Block:       3 * time.Minute,  // §4.5.3.2.5
		End:         10 * time.Minute, // §4.5.3.2.6: giving up earlier makes duplicates
		Reset:       1 * time.Minute,  // ours
		Quit:        5 * time.Second,  // ours: nothing depends on the answer
		Interrupt:   20 * time.Second, // ours
		Transaction: 30 * time.Minute, // ours
		MinRate:     8 << 10,          // ours
	}
}

// withDefaults fills what is zero.
func (t Timeouts) withDefaults() Timeouts {
	d := DefaultTimeouts()
	for _, f := range []struct {
		value *time.Duration
		std   time.Duration
	}{
		{&t.Greeting, d.Greeting}, {&t.Hello, d.Hello}, {&t.StartTLS, d.StartTLS}, {&t.Auth, d.Auth},
		{&t.Mail, d.Mail}, {&t.Rcpt, d.Rcpt}, {&t.Data, d.Data}, {&t.Block, d.Block}, {&t.End, d.End},
		{&t.Reset, d.Reset}, {&t.Quit, d.Quit}, {&t.Interrupt, d.Interrupt}, {&t.Transaction, d.Transaction},
	} {
		if *f.value <= 0 {
			*f.value = f.std
		}
	}
	if t.MinRate <= 0 {
		t.MinRate = d.MinRate
	}
	return t
}

// transaction is the time that a message of size octets may take.
func (t Timeouts) transaction(size int64) time.Duration {
	return t.Transaction + time.Duration(size/t.MinRate)*time.Second
}
