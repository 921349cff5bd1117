package embedded

import (
	"context"
	"errors"
	"fmt"

	"opensessionmanager/persistence"
)

// checker makes assertions where there is no *testing.T: in another process. It
// keeps the first failure.
type checker struct {
	store *Store
	err   error
}

func (c *checker) require(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *checker) requireUnavailable(err error) {
	if !errors.Is(err, persistence.ErrUnavailable) {
		c.require(fmt.Errorf("want ErrUnavailable, have %v", err))
	}
}

func (c *checker) load(id string) (persistence.Record, error) {
	return c.store.Load(context.Background(), thing(id, 0, "").Key)
}

func (c *checker) requireLoad(id string) {
	if _, err := c.load(id); err != nil {
		c.require(fmt.Errorf("load %s: %w", id, err))
	}
}

func (c *checker) saveVersion(r persistence.Record) (int64, error) {
	return c.store.Save(context.Background(), r)
}

func (c *checker) save(r persistence.Record) error {
	_, err := c.saveVersion(r)
	return err
}
