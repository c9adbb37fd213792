// Package drain makes a service survive what its operator does to it without losing a request: a
// swap of its binary in place, a pull from the balancer, a stop.
//
//	err := drain.ListenAndServe(":8080", handler)
//
// is a whole service. [New] and [Service] are the long form. Every port of the program must come through
// [Service.Listen], those for metrics and pprof too. If the program opens a port by itself, the next generation can't
// open it while this one serves, and the swap fails.
//
// The service takes these signals:
//
//   - SIGHUP starts the binary again, and hands the listening sockets and the idle connections to it.
//   - SIGUSR2 makes /ping answer 501, so that balancers take the node out. SIGUSR1 takes that back.
//   - SIGTERM does as SIGUSR2, waits until the balancers have noticed, finishes what is in flight,
//     and exits with 0.
//
// Where NOTIFY_SOCKET is set, as by a systemd unit with Type=notify and NotifyAccess=main, the
// service manager hears what happens, and which process to follow: see sd_notify(3). Where
// WATCHDOG_USEC asks for it, it hears that every server answers the live path. The service asks for
// more time while Config.Ready (for up to Config.SwapTimeout), a swap or a stop goes on, but never
// for more than these have.
//
// The next generation is started as this process was: by the same path, in the folder of the same
// name, with the same arguments, environment and standard files. What the program has changed of
// them since does not count. Links in both names are followed again. So a program finds a secret
// that it has unset, and reads its .env file again. The copies of the standard files that this
// needs stay open as long as the process lives. Other open descriptors, by "3>file" in a shell, are
// not passed on, or not all of them: the library passes its own from number 3 on. A program opens
// such a file by its name.
//
// A new generation has a process group of its own until it takes over, and then joins that of the
// old one. If it fails, its whole group is killed. In the foreground of a terminal it is in the old
// group from the beginning, and only the process that was started is killed. On Linux, each process
// that has inherited the failed generation's end of the link, or of the pipe that says "ready", is
// killed too: a daemon would keep the sockets. A script that waits for the program may start it. A
// script that calls exec leaves nothing behind that holds the sockets longer. Processes that the
// program starts inherit none of the library's descriptors and variables.
//
// From New on, and in a new generation from its start, a write to a standard output whose reader is
// gone returns EPIPE.
//
// On Linux a new generation's standard error, if it is a file or a pipe, is another pipe until Run,
// which the old one copies to where it belongs. So the error of a swap has the last lines of a program
// that could not start. A terminal and the journal's socket stay as they are: there it has what Go says
// of a crash, what package log writes, and what the program gives to Service.Fail.
//
// A swap is a commit. Until the new generation has said that its doors are open, the old one serves
// on. The old one takes everything back when the new one dies, or does not say so within 10s, in
// which case it is killed. A new generation that is ready and hears nothing from the old one for
// 15s opens its doors by itself. So at each moment of a swap one of them accepts.
//
// A service manager hears of the new generation just before that opens its doors. If the new one
// fails right then, a manager with NotifyAccess=all hears that the old one is the main one again.
// With NotifyAccess=main it hears nothing more and follows the dead process. Where the unit has a
// watchdog, the manager restarts the service when the time of that is over.
//
// Promised: the service answers a request that has arrived on a connection of an http.Server given
// to Serve, or on one that the kernel has accepted. That holds as long as its generation neither
// crashes nor reaches Config.DrainTimeout. What was sent and is not answered all the same, cut off or
// unread, is logged, and counted by its kind in Status().Open (Lost, CutOff, Part, Junk). A client that
// has begun a request of HTTP/1, or a record of TLS, has one Config.IdleGrace to finish it.
//
// Not promised: an answer to a client that sends on a connection the very moment it is closed after
// Config.IdleGrace. Connections that are handed over are not closed. Of TLS those of ServeTLS are
// handed over, and hijacked ones only by Service.HandOver. HTTP/2 that is not handed over ends by a GOAWAY
// after which the client can know what is answered.
package drain
