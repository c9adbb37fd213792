// Package health answers the health probes of load balancers and knows when the balancers have
// understood the answer.
//
// A [State] is the handler of a /ping route. It answers 200 until [State.Pull] takes the node out of
// its balancers: from then on every probe gets a failing answer (501 unless configured), while the
// service goes on serving. Balancers take a node out after a few failing probes, at their own pace. The
// State keeps a ledger of the probers and how often they ask, and closes [State.Noticed] when all of
// them have had enough failing answers. That is the moment to stop accepting: sooner loses requests,
// later only wastes time.
//
// The package stands alone: any net/http service can mount a State, and so can Gin, with gin.WrapH. It
// installs no signal handlers, and starts no goroutines but for connections on the ports of
// [State.ServeAgent], which answers HAProxy's agent-check, and of a [Heartbeat], for balancers that
// only connect.
//
// # With package drain
//
// A drain.Service has a State of its own: it pulls and restores it, opens the ports, and passes the
// ledger on to the next process with Export and Import. A program gets the rest from the Service's
// Health method, such as Probed for the probes of gRPC. A service without package drain may use all of
// it.
//
// # The ledger
//
// A prober is a remote host, a User-Agent (an absent one counts as empty), and the form of the request:
// method, version, Host, and the names of the headers. All clients of unix sockets are one host. What a
// host does on the ports for agents and heartbeats is a prober each; what is entered by [State.Probed]
// counts like a probe of HTTP. Its interval is learned from the gaps between its probes while the
// service is healthy. So the quick rechecks of a balancer that has just seen a failure do not count.
// Three probes at even distances are enough, four where they are more than 5 s apart. A few late, lost
// or doubled probes do not disturb it.
//
// A prober is live while it was seen within three of its intervals, within one and a half as long as it
// has come three times only. A prober without a rhythm is either a balancer that has just begun or a
// person with curl; nothing tells them apart until it comes back. It is waited for until 3 s are over
// since it was last seen, and since the pull began. Beside probers with a rhythm it is waited for until
// one and a half of the slowest interval are over, and so no longer than for these. Where its host
// sends requests, too, see [State.Visited], it is a balancer that has just begun as long as it goes on
// sending. That lasts until half of PullMax is over since it was last seen, at most. So a service that
// is stopped before a balancer has asked three times may lose requests if they are rare, less than one
// in a second; PullMin is the cure.
//
// [State.DropVisitors] is for a stop by a person at a terminal: that does not wait for a prober that has come only
// once. Package drain calls it for Ctrl-C (SIGINT) alone. A balancer that has asked once may have begun to send
// requests, so after SIGTERM the rule above holds, and nothing is lost.
//
// A prober that first comes in during a pull has never heard that all is well; it counts once it has a
// rhythm, learned from the failing answers.
//
// The ledger holds 1024 probers. Those without a rhythm never drive out those with one.
//
// # Crowds
//
// Others may share a prober's host, User-Agent and form: workers of one balancer, or clients that ask
// for the route through it. Where more comes than the interval has room for, a failing answer may have
// been any of theirs. Such a prober has noticed when its interval times Config.Failures is over since the
// pull, and a moment: by then each of its kind has failed as often.
//
// The interval of a crowd is found by what comes at exact distances in it: the slowest rhythm among the
// last 512 probes that chance hardly explains. A rhythm that was known before the crowd came is kept
// while something comes on its beat.
//
// # Outsiders
//
// What carries X-Forwarded-For, X-Real-IP, Forwarded or Via was forwarded by a proxy. It is a prober of
// its own, which counts only where no prober with a rhythm asks directly: a balancer may stand before a
// proxy on this machine. While pulled it is a visitor, see [State.Arrived], if the proxy is a prober,
// too.
//
// What is left: an outsider that asks in a rhythm, as a balancer does, is waited for as a balancer is.
// So is one whose random distances happen to be even for a while. Config.Probers names the networks
// that count.
//
// Clients may ask through a balancer that adds no header, in the very form of its probes. They hide its rhythm
// if they ask from the beginning, or more than about 25 times in one of its intervals. They also hide it if the
// intervals of the balancer differ by more than about one in 200. A few that come at random when the balancer, too,
// has just begun may by chance look like a faster one. Clients that begin during the pull, after the
// balancer's first failing answer, may be taken for its rechecks. Workers that share all of it, and
// happen to probe at even distances, look like one faster prober. Then only their traffic holds the
// pull: multiply Config.Failures by their number.
//
// # What is promised
//
// A pull is noticed when every live prober has had Config.Failures failing answers, and then a moment to act.
// The moment is a tenth of its interval, at most 100 ms. An agent needs one answer. A heartbeat
// must have failed as often. A prober that is entered by [State.Watched] must have been told, or be
// gone. Besides, no connection may have arrived for nine tenths of the slowest live prober's interval,
// and PullMin must be over. When PullMax is over the pull is noticed in any case. Where no prober is
// live, the pull is noticed at PullMin.
//
// A failing answer counts once it is written to the connection, not when the handler has decided. One that
// cannot be written does not count. Take a balancer that needs Config.Failures failing answers. Noticed is
// never earlier than that moment after the last of them has been handed to the kernel. Without further
// connections or other visitors it is never more than one probe interval later; in a crowd that and a
// twentieth.
//
// Not promised:
//
//   - that a balancer acts on what it read within that moment
//   - that a pull waits for a balancer that needs more than Config.Failures answers, or whose first probe is still to
//     come
//   - anything once PullMax is over
//   - anything about answers that a ResponseWriter without Flush holds back, such as that of [http.TimeoutHandler].
//     They count when the handler has written them
package health
