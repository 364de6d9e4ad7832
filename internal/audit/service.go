package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"postern/internal/relay"
	"postern/internal/store"
)

// Store keeps reports and schedules, and has the facts; *store.Store is one.
type Store interface {
	Source
	PutAuditReport(ctx context.Context, by store.By, r store.AuditReport) error
	AuditReports(ctx context.Context, account relay.AccountID, limit int) ([]store.AuditReport, error)
	AuditReport(ctx context.Context, account relay.AccountID, id relay.ID) (store.AuditReport, error)
	PruneAuditReports(ctx context.Context, now time.Time) (int64, error)
	SwapAuditSchedule(ctx context.Context, by store.By, was, v store.AuditSchedule) error
	ClaimAuditSchedules(ctx context.Context, now, until time.Time, n int) ([]store.AuditSchedule, error)
	FinishAuditSchedule(ctx context.Context, v store.AuditSchedule, at, next time.Time) error
}

// Config is what a Service works with.
type Config struct {
	Store      Store
	Settings   func() []Setting   // as in Sources
	Components func() []Component // as in Sources
	Exported   func(ctx context.Context, account relay.AccountID) (bool, error)
	// Mail hands a letter in; nil: no reports are mailed. An error of the kind Invalid
	// is for good, every other one is tried again.
	Mail func(ctx context.Context, l Letter) error
	Log  *slog.Logger
	Now  func() time.Time // nil: time.Now
}

// Service makes, keeps and mails reports.
type Service struct {
	cfg Config
	// making bounds how many reports are made at once: each reads all of an account.
	making chan struct{}
}

// New makes a service. It starts nothing: call RunDue now and then.
func New(cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg, making: make(chan struct{}, 2)}
}

// Report makes the report of an account as it is now. relay.NotFound: there is no
// such account. At most two are made at once; others wait.
func (s *Service) Report(ctx context.Context, account relay.AccountID) (*Report, error) {
	select {
	case s.making <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.making }()
	f, err := Collect(ctx, Sources{Store: s.cfg.Store, Settings: s.cfg.Settings, Components: s.cfg.Components, Exported: s.cfg.Exported}, account, s.cfg.Now())
	if err != nil {
		return nil, err
	}
	return Judge(f), nil
}

// Kept is the head of a report that was kept.
type Kept struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Score    int       `json:"score"`
	Findings int       `json:"findings"`
}

// Keep makes a report and keeps it, by somebody's wish.
func (s *Service) Keep(ctx context.Context, by store.By, account relay.AccountID) (Kept, error) {
	r, err := s.Report(ctx, account)
	if err != nil {
		return Kept{}, err
	}
	return s.keep(ctx, by, relay.NewID(r.At), r)
}

func (s *Service) keep(ctx context.Context, by store.By, id relay.ID, r *Report) (Kept, error) {
	r.ID = id.String()
	body, err := pack(r)
	if err != nil {
		return Kept{}, fmt.Errorf("keep audit report: %w", err)
	}
	row := store.AuditReport{ID: id, Account: r.Account, At: r.At, Score: int64(r.Score), Findings: int64(len(r.Findings) + r.Omitted), Body: body}
	if err := s.cfg.Store.PutAuditReport(ctx, by, row); err != nil {
		return Kept{}, err
	}
	return keptOf(&row), nil
}

func keptOf(row *store.AuditReport) Kept {
	return Kept{ID: row.ID.String(), At: row.At, Score: int(row.Score), Findings: int(row.Findings)}
}

// Kept lists the reports that are kept of an account, the newest first.
func (s *Service) Kept(ctx context.Context, account relay.AccountID, limit int) ([]Kept, error) {
	rows, err := s.cfg.Store.AuditReports(ctx, account, limit)
	out := make([]Kept, 0, len(rows))
	for i := range rows {
		out = append(out, keptOf(&rows[i]))
	}
	return out, err
}

// Find returns a report that was kept, or relay.NotFound.
func (s *Service) Find(ctx context.Context, account relay.AccountID, id string) (*Report, error) {
	parsed, err := relay.ParseID(id)
	if err != nil {
		return nil, &relay.Error{Kind: relay.NotFound, Public: "There is no such report.", Err: err}
	}
	row, err := s.cfg.Store.AuditReport(ctx, account, parsed)
	if err != nil {
		return nil, err
	}
	return unpack(row.Body)
}

// Schedule returns when an account's report is made, and for whom.
func (s *Service) Schedule(ctx context.Context, account relay.AccountID) (Schedule, error) {
	row, err := s.cfg.Store.AuditSchedule(ctx, account)
	if err != nil {
		return Schedule{}, err
	}
	return scheduleOf(row)
}

// EditSchedule has it edited; NextAt follows from the rest. edit runs again where
// somebody else was faster, on what they have set. relay.Invalid: it cannot be.
func (s *Service) EditSchedule(ctx context.Context, by store.By, account relay.AccountID, edit func(*Schedule) error) (Schedule, error) {
	a, err := s.cfg.Store.Account(ctx, account)
	if err != nil {
		return Schedule{}, err
	}
	if err := store.Again(func() error { return s.swapSchedule(ctx, by, &a, edit) }); err != nil {
		return Schedule{}, err
	}
	return s.Schedule(ctx, account)
}

func (s *Service) swapSchedule(ctx context.Context, by store.By, a *relay.Account, edit func(*Schedule) error) error {
	was, err := s.cfg.Store.AuditSchedule(ctx, a.ID)
	if err != nil {
		return err
	}
	v, err := scheduleOf(was)
	if err != nil {
		return err
	}
	if err := edit(&v); err != nil {
		return err
	}
	if v.Every != Never && v.Every != Weekly && v.Every != Monthly {
		return &relay.Error{Kind: relay.Invalid, Field: "every", Public: "Choose off, weekly or monthly."}
	}
	if v.Options != v.Options.Filled() {
		return &relay.Error{Kind: relay.Invalid, Field: "options", Public: fmt.Sprintf("Each bound is from %d to %d days, that of secrets up to %d, that of logins up to %d.", MinDays, MaxDays, MaxRotateDays, MaxLoginDays)}
	}
	v.NextAt = v.Next(s.cfg.Now(), zoneOf(a))
	options, err := json.Marshal(v.Options)
	if err != nil {
		return fmt.Errorf("set schedule: %w", err)
	}
	row := store.AuditSchedule{Account: a.ID, Every: string(v.Every), To: v.To, Options: options, NextAt: v.NextAt}
	return s.cfg.Store.SwapAuditSchedule(ctx, by, was, row)
}

func zoneOf(a *relay.Account) *time.Location {
	zone, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		return time.UTC
	}
	return zone
}

const (
	dueAtOnce = 5
	// claimFor is how long making and mailing one may take before somebody else tries.
	claimFor = 10 * time.Minute
)

// RunDue makes, keeps and mails the reports that are due, some at a time, and
// forgets those that are too old. A report whose letter could not be handed in is
// made again ten minutes later; so a letter may come twice. Call it every minute.
func (s *Service) RunDue(ctx context.Context) error {
	now := s.cfg.Now()
	due, err := s.cfg.Store.ClaimAuditSchedules(ctx, now, now.Add(claimFor), dueAtOnce)
	if err != nil {
		return err
	}
	var all error
	for _, row := range due {
		if err := s.make(ctx, row, now); err != nil {
			all = errors.Join(all, fmt.Errorf("audit report of account %s: %w", row.Account, err))
		}
	}
	if _, err := s.cfg.Store.PruneAuditReports(ctx, now); err != nil {
		all = errors.Join(all, err)
	}
	return all
}

// scheduled is who keeps a report that nobody asked for.
var scheduled = store.By{Who: "postern", From: "schedule"}

func (s *Service) make(ctx context.Context, row store.AuditSchedule, now time.Time) error {
	account, err := s.cfg.Store.Account(ctx, row.Account)
	if err != nil {
		return err
	}
	v, err := scheduleOf(row)
	if err != nil {
		return err
	}
	if account.DisabledAt.IsZero() {
		before, err := s.cfg.Store.AuditReports(ctx, row.Account, 2) // this one may be kept already
		if err != nil {
			return err
		}
		r, err := s.Report(ctx, row.Account)
		if err != nil {
			return err
		}
		// Whoever makes this one again finds that it is kept.
		if _, err := s.keep(ctx, scheduled, scheduledID(&row), r); err != nil && relay.KindOf(err) != relay.Conflict {
			return err
		}
		if err := s.mail(ctx, v.To, r, before); err != nil {
			return err
		}
	}
	return s.cfg.Store.FinishAuditSchedule(ctx, row, now, v.Next(now, zoneOf(&account)))
}

// scheduledID is the same each time that one report is made.
func scheduledID(row *store.AuditSchedule) relay.ID {
	id := relay.NewID(row.NextAt)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(row.Account.ID[:], uint64(row.NextAt.UnixMicro())))
	copy(id[6:], sum[:])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

// maxPacked is what the store takes.
const maxPacked = 4 << 20

// pack is a report as it is kept: JSON, compressed. One that is too large loses
// the ends of its tables, then of its findings, and says so.
func pack(r *Report) ([]byte, error) {
	short := *r
	for _, most := range []int{MaxFindings, 2000, 200} {
		for _, cut := range []int{
			cutTo(&short.Senders, most), cutTo(&short.People, most), cutTo(&short.Clients, most), cutTo(&short.Domains, most), cutTo(&short.Lists, most),
		} {
			short.Cut += cut
		}
		if most < MaxFindings {
			short.Omitted += cutTo(&short.Findings, 5*most)
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if err := errors.Join(json.NewEncoder(z).Encode(&short), z.Close()); err != nil {
			return nil, err
		}
		if b.Len() <= maxPacked {
			return b.Bytes(), nil
		}
	}
	return nil, relay.E(relay.TooLarge, "The report is too large to be kept.")
}

func cutTo[T any](rows *[]T, most int) int {
	over := max(0, len(*rows)-most)
	*rows = (*rows)[: len(*rows)-over : len(*rows)-over]
	return over
}

// maxUnpacked bounds what is read back.
const maxUnpacked = 512 << 20

func unpack(body []byte) (*Report, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("kept audit report: %w", err)
	}
	var r Report
	if err := json.NewDecoder(io.LimitReader(z, maxUnpacked)).Decode(&r); err != nil {
		return nil, fmt.Errorf("kept audit report: %w", err)
	}
	return &r, nil
}
