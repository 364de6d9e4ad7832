package console

import (
	"strings"
	"time"

	"postern/internal/relay"
)

// journey is what a page reads of one message.
type journey struct {
	ID         string   `json:"msg_id"`
	From       string   `json:"from_email"`
	To         string   `json:"to_email"`
	Subject    string   `json:"subject"`
	Status     string   `json:"status"`
	Why        []string `json:"why"`
	Queued     bool     `json:"queued"`
	Recipients []struct {
		Address  string    `json:"address"`
		State    string    `json:"state"`
		Attempts int       `json:"attempts"`
		NextAt   time.Time `json:"next_attempt_at"`
		Reply    string    `json:"last_reply"`
		Host     string    `json:"last_host"`
	} `json:"recipients"`
	Events []struct {
		At        time.Time `json:"at"`
		Event     string    `json:"event"`
		Recipient string    `json:"recipient"`
	} `json:"events"`
}

type journeyPage struct {
	frame
	Steps   []Step
	Message journey
	Events  []eventRow
	Arrived bool
	Failed  bool
}

type eventRow struct {
	At         time.Time
	Tone, Text string
}

func (c *Console) firstJourney(v *visit) error {
	p := &journeyPage{Steps: v.ownSteps(stepTest)}
	if err := v.get(apiPath("/v3/messages/{id}", v.R.PathValue("id")), &p.Message); err != nil {
		return err
	}
	for _, e := range p.Message.Events {
		tone, text := eventText(e.Event)
		p.Events = append(p.Events, eventRow{At: e.At, Tone: tone, Text: text})
	}
	for _, r := range p.Message.Recipients {
		switch relay.RecipientState(r.State) {
		case relay.RecipientDelivered:
			p.Arrived = true
		case relay.RecipientBounced, relay.RecipientDropped:
			p.Failed = true
		}
	}
	if !p.Arrived && !p.Failed {
		p.Refresh = 5
	} else {
		p.Steps[stepTest] = Step{Name: stepNames[stepTest], Done: p.Arrived, Current: !p.Arrived}
	}
	return v.render("welcome_journey", p)
}

// eventTexts say what the events of a message mean.
var eventTexts = map[relay.EventKind]struct{ tone, text string }{
	relay.EventReceived:    {"ok", "Accepted and stored safely."},
	relay.EventDeferred:    {"warn", "Put off by the recipient's server. It is tried again."},
	relay.EventDelivered:   {"ok", "Taken over by the recipient's server."},
	relay.EventBounced:     {"bad", "Refused by the recipient's server, or given up after all tries."},
	relay.EventDropped:     {"bad", "Not sent."},
	relay.EventHeld:        {"warn", "Held until somebody releases it."},
	relay.EventReleased:    {"ok", "Released."},
	relay.EventRetried:     {"", "Somebody asked for a try now."},
	relay.EventQuarantined: {"bad", "Taken out of the queue: it was found damaged."},
	relay.EventRecovered:   {"warn", "Found in flight after a crash. It may have arrived already."},
	relay.EventNotified:    {"", "A notice about it was queued."},
	relay.EventRelayed:     {"ok", "Taken over by a server that sends no notices."},
	relay.EventRefused:     {"bad", "Not accepted: the sender may not write as this address."},
}

func eventText(event string) (tone, text string) {
	if e, ok := eventTexts[relay.EventKind(event)]; ok {
		return e.tone, e.text
	}
	return "", sentence(strings.ReplaceAll(event, "_", " "))
}
