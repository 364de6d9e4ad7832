package v3

import (
	"errors"
	"net/http"
	"slices"

	"postern/internal/relay"
	"postern/internal/store"
)

var proofRoutes = []Route{
	{
		Method: "GET", Pattern: "/v3/changes/verify", Scope: scopeRecords, ParentOnly: true, AnyAccount: true,
		Summary: "Check the account's chain of changes from its first record or checkpoint to its signed head. The operator sees the installation's own chain too, and all accounts' if none is named",
		Answers: map[int]any{200: proofList{}}, Handler: (*API).verifyChanges,
	},
	{
		Method: "GET", Pattern: "/v3/changes/head", Scope: scopeRecords, ParentOnly: true, AnyAccount: true,
		Summary: "Show the signed head of the account's chain, to be kept elsewhere: a later chain that does not contain it was rewritten",
		Answers: map[int]any{200: headList{}}, Handler: (*API).showHeads,
	},
	{
		Method: "POST", Pattern: "/v3/changes/prune", OperatorOnly: true, AnyAccount: true,
		Summary: "Remove an account's changes from before a time; a signed checkpoint stays in their place",
		Body:    pruneRequest{}, Answers: map[int]any{200: store.Checkpoint{}}, Handler: (*API).pruneChanges,
	},
}

type proofList struct {
	Result []proofView `json:"result"`
}

type proofView struct {
	store.Proof
	Username string `json:"username" doc:"of the account; empty: the installation"`
	Valid    bool   `json:"valid"`
	Problem  string `json:"problem,omitempty"`
}

// verifying bounds how many chains are checked at once: each is read in full.
var verifying = make(chan struct{}, 2)

func (a *API) verifyChanges(c *Call) error {
	select {
	case verifying <- struct{}{}:
	case <-c.R.Context().Done():
		return c.R.Context().Err()
	}
	defer func() { <-verifying }()
	out := proofList{}
	chains, err := a.chainsOf(c)
	if err != nil {
		return err
	}
	for _, id := range chains {
		v, err := a.verify(c, id)
		if err != nil {
			return err
		}
		out.Result = append(out.Result, v)
	}
	return c.JSON(http.StatusOK, out)
}

// chainsOf are the chains that the caller may see: the account's, and for the
// operator that of the installation, and all if no account is named.
func (a *API) chainsOf(c *Call) ([]relay.AccountID, error) {
	switch {
	case !c.Operator:
		return []relay.AccountID{c.Tenant.Account}, nil
	case !c.Tenant.Account.IsZero():
		return []relay.AccountID{c.Tenant.Account, {}}, nil
	}
	accounts, err := a.Accounts.Accounts(c.R.Context())
	var out []relay.AccountID
	for _, account := range accounts {
		out = append(out, account.ID)
	}
	return append(out, relay.AccountID{}), err
}

func (a *API) verify(c *Call, id relay.AccountID) (proofView, error) {
	account, _ := a.Directory.Account(id)
	proof, err := a.Records.VerifyChanges(c.R.Context(), id)
	v := proofView{Proof: proof, Username: account.Name, Valid: err == nil}
	v.Head = notNil(v.Head)
	switch {
	case err == nil:
		return v, nil
	case !errors.Is(err, store.ErrDamaged):
		return v, err
	case c.Operator:
		v.Problem = err.Error()
	default:
		// What exactly does not fit may be a number of the whole installation.
		v.Problem = "What follows does not fit: a record was altered, removed or put in. The operator's check says more."
	}
	return v, nil
}

type headList struct {
	Result    []store.ChangeHead `json:"result"`
	PublicKey []byte             `json:"public_key" doc:"Ed25519, of all signatures"`
}

func (a *API) showHeads(c *Call) error {
	heads, err := a.Records.ChangeHeads(c.R.Context())
	if err != nil {
		return err
	}
	chains, err := a.chainsOf(c)
	if err != nil {
		return err
	}
	out := headList{Result: []store.ChangeHead{}, PublicKey: a.Records.AuditKey()}
	for _, h := range heads {
		if slices.Contains(chains, h.Account) {
			out.Result = append(out.Result, h)
		}
	}
	return c.JSON(http.StatusOK, out)
}

type pruneRequest struct {
	Before       string   `json:"before" v3:"required" doc:"RFC 3339, or Unix seconds"`
	Installation bool     `json:"installation,omitempty" doc:"the installation's own chain instead of an account's"`
	Unexported   []string `json:"unexported,omitempty" doc:"names of exports that are given up: also what they have not taken yet, which they never get. While another one has not taken all of it the request is refused with 409"`
}

func (a *API) pruneChanges(c *Call) error {
	var in pruneRequest
	if err := c.Decode(&in); err != nil {
		return err
	}
	before, err := parseMoment("before", in.Before)
	if err != nil {
		return err
	}
	if before.IsZero() || before.After(c.Now) {
		return invalid("before", "Name a time that has passed.")
	}
	id := c.Tenant.Account
	switch {
	case in.Installation:
		id = relay.AccountID{}
	case id.IsZero():
		account, err := a.accountRef(c.R.Context(), "")
		if err != nil {
			return err
		}
		id = account.ID
	}
	checkpoint, err := a.Records.PruneChanges(c.R.Context(), c.By, store.Prune{Account: id, Before: before, Unexported: in.Unexported})
	switch {
	case errors.Is(err, store.ErrDamaged):
		return &relay.Error{Kind: relay.Conflict, Public: "The chain does not fit: a record was altered, removed or put in. Nothing was pruned.", Err: err}
	case err != nil:
		return err
	}
	return c.JSON(http.StatusOK, checkpoint)
}
