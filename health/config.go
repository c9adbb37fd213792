package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// Config configures a [State]. Its zero value works.
type Config struct {
	// Status is the status of the answer while pulled, 400 to 599. Default 501; the dashboards of some
	// balancers expect 503.
	Status int

	// Message is the "message" in the body of that answer. Everyone that reaches the route can read it.
	// Default "pulled".
	Message string

	// Healthy says whether the service can do its work: its database answers, its caches are warm. While it returns
	// an error, probes are answered Status, or 503 where that is the default. The body has the beginning of the error,
	// 200 bytes and one line at most. Everyone that reaches the route can read it. It is not asked while pulled.
	//
	// It is asked when a probe comes: once at a time, and at most ten times a second, however many ask; probes in
	// between have the same answer. It has one second: then ctx ends, and the service counts as unhealthy, as after a
	// panic. Default: healthy throughout. A [Heartbeat] and what is entered by Probed and Watched do not ask it.
	Healthy func(ctx context.Context) error

	// HealthChanged is called with Healthy's error when that first fails, and with nil when it is well again: one call
	// at a time, in this order. It must not block, or a probe waits for its answer. Default: none.
	HealthChanged func(error)

	// Failures is how many failing answers each live prober must have had before a pull is noticed: the
	// largest number after which one of the balancers takes a node out. Default 3.
	Failures int

	// Probers are the networks that the balancers' probes come from. Where there are some, no other host
	// is a prober: others are answered, and no pull waits for them. What a proxy in these networks has
	// forwarded must have come from these networks, too, by the last address in its X-Forwarded-For.
	// Clients of unix sockets may always be probers. Default: each host may be one; the package comment
	// says what an outsider can do then.
	Probers []netip.Prefix

	// PullMin is the least time between a pull and its being noticed, default 0. PullMax is the greatest,
	// default 30 s; it must not be less than PullMin.
	PullMin, PullMax time.Duration
}

// pulledStatus is the default of Config.Status.
const pulledStatus = http.StatusNotImplemented

func (c Config) withDefaults() (Config, error) {
	c.Status = cmp.Or(c.Status, pulledStatus)
	c.Message = cmp.Or(c.Message, "pulled")
	c.Failures = cmp.Or(c.Failures, 3)
	c.PullMax = cmp.Or(c.PullMax, 30*time.Second)
	switch {
	case c.Status < 400 || c.Status > 599:
		return c, fmt.Errorf("health: Config.Status is %d, which does not tell a balancer to go away: "+
			"use 400 to 599, or 0 for 501", c.Status)
	case c.Failures < 0:
		return c, fmt.Errorf("health: Config.Failures is %d: use 1 or more, or 0 for 3", c.Failures)
	case c.PullMin < 0:
		return c, fmt.Errorf("health: Config.PullMin is %v: use 0 or more", c.PullMin)
	case c.PullMax < 0:
		return c, fmt.Errorf("health: Config.PullMax is %v: use more than 0, or 0 for 30s", c.PullMax)
	case slices.ContainsFunc(c.Probers, func(p netip.Prefix) bool { return !p.IsValid() }):
		return c, errors.New("health: Config.Probers has a network that is not valid: make it with " +
			"netip.ParsePrefix, such as 10.0.0.0/8")
	case slices.ContainsFunc(c.Probers, func(p netip.Prefix) bool { return p.Addr().Is4In6() }):
		return c, errors.New("health: Config.Probers has a network of IPv4 in the form of IPv6, ::ffff:10.0.0.0/104, " +
			"which no host is in: write 10.0.0.0/8")
	case c.PullMin > c.PullMax:
		return c, fmt.Errorf("health: Config.PullMin is %v, longer than PullMax, which is %v: raise "+
			"PullMax or lower PullMin", c.PullMin, c.PullMax)
	}
	return c, nil
}
