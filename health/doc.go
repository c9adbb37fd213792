// Package health answers the health probes of load balancers and knows when
// the balancers have understood the answer.
//
// A [State] is the handler of a /ping route. It answers 200 until [State.Pull]
// takes the node out of its balancers: from then on every probe gets a failing
// answer (501 unless configured), while the service goes on serving. Balancers
// take a node out after a few failing probes, at their own pace; the State
// keeps a ledger of who probes and how often, and closes [State.Noticed] when
// all of them have had enough failing answers. That is the moment to stop
// accepting: sooner would lose requests, later only wastes time.
//
// The package stands alone: any net/http service can mount a State, and so can
// Gin, with gin.WrapH. It installs no signal handlers, and starts no goroutines
// but for connections on the ports of [State.ServeAgent], which answers HAProxy's
// agent-check, and of a [Heartbeat], for balancers that only connect.
//
// # The ledger
//
// A prober is a remote host and a User-Agent (an absent one counts as empty);
// all clients of unix sockets are one host. What a host does on the ports for
// agents and heartbeats is a prober each; what is entered by [State.Probed] counts
// like a probe of HTTP. Its interval is learned from the gaps between its probes
// while the service is healthy, so that the quick rechecks of a balancer that has just seen a failure do not count; three
// probes at roughly even distances are enough. A few late, lost or doubled
// probes do not disturb it. Up to three workers of one balancer that share an
// address and a User-Agent are told apart by the pattern of their gaps, and
// each of them must have had its failing answers. Where they happen to probe
// at even distances they look like one prober that is faster; then only their
// traffic holds the pull (see [State.Arrived]), and Config.Failures should be
// multiplied by their number.
//
// A prober is live while it was seen within three of its intervals. One without
// a known interval is either a balancer that has just begun or a person with
// curl, and nothing tells them apart until it comes back. It is taken to be as
// slow as the slowest known prober, and as PullMax/3 where none is known, and
// is live for one and a half of these: a balancer is back by then, and a
// person holds a pull no longer than that (15 s by default, 3 s beside a
// balancer that probes every 2 s).
//
// A prober that first comes in during a pull counts like the others, and its
// interval is learned from the failing answers.
//
// # What is promised
//
// A pull is noticed when every live prober has had Config.Failures failing
// answers (an agent one; a heartbeat must have failed as often; who is entered by
// [State.Watched] must have been told, or be gone), and a moment to
// act on the last of them (a tenth of its interval, at most 100 ms), and no
// connection has arrived for nine tenths of the slowest live prober's interval,
// but not before PullMin; or when PullMax is over. Where no prober is live
// nobody is watching, and the pull is noticed at PullMin.
//
// A failing answer counts once it is written to the connection, not when the
// handler has made up its mind; one that cannot be written does not count. For
// a balancer that takes the node out after Config.Failures failing answers,
// Noticed is therefore never earlier than that moment after the last of these
// answers has been handed to the kernel, and, without further connections or
// passers-by, never more than one probe interval later.
//
// Not promised: that a balancer acts on what it read within that moment; that
// one which needs more than Config.Failures answers, or whose first probe is
// still to come, is waited for; anything once PullMax is over; anything about
// answers held back by a ResponseWriter without Flush, such as that of
// [http.TimeoutHandler], which count when the handler has written them.
package health
