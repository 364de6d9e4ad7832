// Package sink is a receiving mail server for people to try things against: it
// takes mail for given domains, or for any, verifies SPF, DKIM and DMARC of
// each message, and keeps what it took where it can be looked at. It can also
// misbehave on request. It delivers nothing and answers for no user.
//
// Its one invariant: what Message.Raw holds is what came over the wire between
// the end of DATA's 354 and its terminator, dots unstuffed, octet for octet.
//
//	s, err := sink.New(sink.Config{Hostname: "mx.inbox.test", Verify: true, Resolver: r})
//	go s.Serve(ctx, listener)
//	m, err := s.Inbox().Wait(ctx, func(m sink.Message) bool { return m.MailFrom == "" })
package sink

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Message is one message that was taken. It is not changed after it was put
// into an inbox.
type Message struct {
	ID         string    `json:"id"`
	ReceivedAt time.Time `json:"received_at"`
	MailFrom   string    `json:"mail_from"` // "": the null reverse-path
	RcptTo     []string  `json:"rcpt_to"`
	TLS        string    `json:"tls"` // "TLSv1.3 TLS_AES_128_GCM_SHA256"; "": plain text
	Raw        []byte    `json:"raw"` // in JSON base64

	// The results, in the words of RFC 8601; "" where nothing was verified.
	SPF   string `json:"spf"`
	DKIM  string `json:"dkim"` // "pass" if one signature is good
	DMARC string `json:"dmarc"`

	Remote     string      `json:"remote"`
	Helo       string      `json:"helo"`
	Signatures []Signature `json:"signatures,omitempty"`
	// AuthenticationResults is the field that a mail server would add (RFC 8601).
	AuthenticationResults string `json:"authentication_results,omitempty"`
	File                  string `json:"file,omitempty"` // where the octets are kept, if they are
}

// Signature is one DKIM-Signature field, top first, and what became of it.
type Signature struct {
	Domain    string `json:"domain"`
	Selector  string `json:"selector"`
	Algorithm string `json:"algorithm"`
	Result    string `json:"result"`
	Reason    string `json:"reason,omitempty"` // why it is not "pass"
}

// Inbox keeps the newest messages in bounded memory, oldest first.
type Inbox struct {
	maxMessages int
	maxBytes    int64

	mu       sync.Mutex
	messages []Message
	bytes    int64
	total    int64         // messages ever put in
	arrival  chan struct{} // closed and replaced at each
}

// overhead is what a message takes beside its octets, about.
const overhead = 1024

func newInbox(maxMessages int, maxBytes int64) *Inbox {
	return &Inbox{maxMessages: maxMessages, maxBytes: maxBytes, arrival: make(chan struct{})}
}

// put adds a message and drops the oldest while there is too much.
func (b *Inbox) put(m Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m)
	b.bytes += int64(len(m.Raw)) + overhead
	b.total++
	n := 0
	for len(b.messages)-n > 1 && (len(b.messages)-n > b.maxMessages || b.bytes > b.maxBytes) {
		b.bytes -= int64(len(b.messages[n].Raw)) + overhead
		b.messages[n] = Message{}
		n++
	}
	b.messages = b.messages[n:]
	close(b.arrival)
	b.arrival = make(chan struct{})
}

// List is a copy of what is kept, oldest first. The octets are shared and must
// not be changed.
func (b *Inbox) List() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages)
}

// Total counts the messages ever taken, kept or not.
func (b *Inbox) Total() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// Wait returns the oldest message that matches, once there is one. Each message
// is shown to match once. The error is ctx's.
func (b *Inbox) Wait(ctx context.Context, match func(Message) bool) (Message, error) {
	var seen int64
	for {
		b.mu.Lock()
		first := b.total - int64(len(b.messages)) // number of the oldest that is kept
		fresh := slices.Clone(b.messages[max(seen-first, 0):])
		arrival := b.arrival
		seen = b.total
		b.mu.Unlock()
		for _, m := range fresh {
			if match(m) {
				return m, nil
			}
		}
		select {
		case <-arrival:
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		}
	}
}

// Handler answers GET with the list as JSON.
func (b *Inbox) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		list := b.List()
		if list == nil {
			list = []Message{}
		}
		_ = json.NewEncoder(w).Encode(list) // the client is gone: nobody to tell
	})
}
