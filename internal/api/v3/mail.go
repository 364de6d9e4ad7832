package v3

import (
	"context"
	"net/http"
	"net/netip"

	"postern/internal/api/mailsend"
	"postern/internal/relay"
	"postern/internal/sender"
	"postern/internal/smtp"
	"postern/internal/store"
	"postern/internal/submit"
)

// MailServices is what handing in mail needs.
type MailServices struct {
	Submit Submission
	// Senders knows the pools; *identity.Directory does.
	Senders SenderDirectory
	// Recheck looks at a principal again when its request has arrived in full, since
	// that may take long; *auth.Authenticator does.
	Recheck Rechecker
	Batches *mailsend.Batches
	// Hostname stands in Message-IDs.
	Hostname string
	// MaxComposed is how many octets the messages of one request may have together;
	// 0: 64 MiB.
	MaxComposed int64
	// Budget bounds what all requests hold in memory, over all listeners: make one for
	// the process. nil: no bound.
	Budget *MailBudget
}

// Submission is the one way in; *submit.Service is it.
type Submission interface {
	// May decides who may send as whom, and records a refusal.
	May(p *relay.Principal, m sender.Mail, src relay.Source) (sender.Decision, error)
	CheckRecipient(p *relay.Principal, a smtp.Address) error
	Begin(ctx context.Context, p *relay.Principal, env submit.Envelope) (*submit.Incoming, error)
	CommitAll(ctx context.Context, p *relay.Principal, ins []*submit.Incoming, idem *store.Idempotency) error
}

// SenderDirectory knows the pools that a request may name.
type SenderDirectory interface {
	PoolNamed(account relay.AccountID, name string) (relay.Pool, bool)
}

// Rechecker reports whether a principal may still do what it could when its
// request began, with the key as it is now.
type Rechecker interface {
	Check(ctx context.Context, p *relay.Principal, addr netip.Addr) (*relay.Principal, error)
}

// maxMailBody is the limit of a body of mail/send, unpacked: SendGrid's 30 MB for
// the whole request. It needs no room for base64 on top: attachments are in
// base64 in the JSON as in the message, and the message is bounded by the same
// number of octets (submit.Config.MaxMessage).
const maxMailBody = 31457280

var mailRoutes = []Route{
	{
		Method: http.MethodPost, Pattern: "/v3/mail/send", Scope: relay.ScopeMailSend,
		NoRateLimit: true, CommitsAnswer: true, MaxBody: maxMailBody, Hold: (*API).holdBody,
		Summary: "Send mail",
		Body:    mailsend.Body{}, Answers: map[int]any{http.StatusAccepted: nil, http.StatusOK: nil},
		Handler: (*API).sendMail,
	},
	{
		Method: http.MethodPost, Pattern: "/v3/mail/batch", Scope: "mail.batch.create",
		Summary: "Make a batch id",
		Answers: map[int]any{http.StatusCreated: batchAnswer{}},
		Handler: (*API).makeBatch,
	},
	{
		Method: http.MethodGet, Pattern: "/v3/mail/batch/{batch_id}", Scope: "mail.batch.read",
		Summary: "Check a batch id",
		Answers: map[int]any{http.StatusOK: batchAnswer{}},
		Handler: (*API).checkBatch,
	},
}

type batchAnswer struct {
	BatchID string `json:"batch_id"`
}

func (a *API) makeBatch(c *Call) error {
	id, ok := a.Batches.Make(c.Tenant, c.Now)
	if !ok {
		return relay.E(relay.Unavailable, "Batch ids are not made here.")
	}
	return c.JSON(http.StatusCreated, batchAnswer{id})
}

// checkBatch answers 400 for what is no valid id, whosever it is.
func (a *API) checkBatch(c *Call) error {
	id := c.R.PathValue("batch_id")
	if !a.Batches.Valid(c.Tenant, id, c.Now) {
		return invalid("", "invalid batch id")
	}
	return c.JSON(http.StatusOK, batchAnswer{id})
}
