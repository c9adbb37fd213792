//go:build !linux

package drain

import (
	"errors"
	"os"

	"github.com/baton-go/baton/drain/internal/later"
)

func (c *Config) keeps() bool { return c.Keeper }

func (c *Config) keep(*later.Handler) error {
	return errors.New("drain: Config.Keeper: only Linux lets a process adopt the generations to come; leave it unset")
}

func (*system) keeper() (*os.File, error) { return nil, nil }
