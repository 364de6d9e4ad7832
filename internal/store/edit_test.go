package store

import (
	"context"

	"postern/internal/relay"
)

// What an edit does that nobody else gets in the way of: reads, and swaps at once.

func editAccount(s *Store, a relay.Account) error {
	was, err := s.Account(context.Background(), a.ID)
	if err != nil {
		return err
	}
	return s.SwapAccount(context.Background(), testBy, was, a)
}

func editSubuser(s *Store, u relay.Subuser) error {
	was, err := s.Subuser(context.Background(), u.ID)
	if err != nil {
		return err
	}
	return s.SwapSubuser(context.Background(), testBy, was, u)
}

func editPool(s *Store, p relay.Pool) error {
	was, err := s.Pool(context.Background(), p.ID)
	if err != nil {
		return err
	}
	return s.SwapPool(context.Background(), testBy, was, p)
}

func editDomain(s *Store, d relay.Domain) error {
	was, err := s.Domain(context.Background(), d.ID)
	if err != nil {
		return err
	}
	return s.SwapDomain(context.Background(), testBy, was, d)
}

func share(s *Store, id relay.DomainID, subusers []relay.SubuserID, all bool) error {
	was, err := s.Domain(context.Background(), id)
	if err != nil {
		return err
	}
	return s.SwapDomainSharing(context.Background(), testBy, was, subusers, all)
}

func editSender(s *Store, v relay.SingleSender) error {
	was, err := s.Sender(context.Background(), v.Number)
	if err != nil {
		return err
	}
	return s.SwapSender(context.Background(), testBy, was, v)
}

func editWatch(s *Store, account relay.AccountID, v relay.WatchSettings) error {
	was, err := s.WatchSettings(context.Background(), account)
	if err != nil {
		return err
	}
	return s.SwapWatchSettings(context.Background(), testBy, account, was, v)
}

func editSchedule(s *Store, v AuditSchedule) error {
	was, err := s.AuditSchedule(context.Background(), v.Account)
	if err != nil {
		return err
	}
	return s.SwapAuditSchedule(context.Background(), testBy, was, v)
}
