package store

import (
	"context"
	"errors"
)

func (s *Store) openPostgres(context.Context) error {
	return errors.New("PostgreSQL is not built in")
}
