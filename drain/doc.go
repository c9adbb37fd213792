// Package drain makes a service survive what its operator does to it without losing a request: a swap of its binary in
// place, a pull from the balancer, a stop.
//
//	log.Fatal(drain.ListenAndServe(":8080", handler))
//
// is a whole service: SIGHUP starts the binary anew and hands it the listening sockets and the idle
// connections, SIGUSR2 makes /ping answer 501 so that balancers take the node out, SIGUSR1 takes
// that back, SIGTERM does the same, waits until the balancers have noticed, finishes what is in
// flight and exits with 0. [New] and [Service] are the long form.
//
// Where NOTIFY_SOCKET is set, as by a systemd unit with Type=notify and NotifyAccess=main, the
// service manager is told what happens, which process to follow, and, where WATCHDOG_USEC asks for
// it, that every server answers the live path: see sd_notify(3). It is asked for more time while
// Config.Ready (for up to Config.SwapTimeout), a swap or a stop goes on, but never for more than
// these have.
//
// The next generation is started as this process was: by the path, with the arguments, the
// environment and the standard files that the kernel and the starter gave, whatever the program has
// made of them since, and in the folder of that name. Links in both names are followed anew. So a
// program finds a secret again that it has unset, and reads its .env file anew. The copies of the
// standard files that this needs stay open as long as the process lives.
//
// A new generation has a process group of its own until it takes over. If it fails, the whole group
// is killed; else it joins the group of the old one. In the foreground of a terminal it is in that
// group from the beginning, and only the process that was started is killed. Linux kills besides,
// in both cases, every process that it has left its end of the link or of the pipe that says
// "ready": a daemon would keep the sockets. The program may be started by a script that waits for
// it; one that calls exec leaves nothing that holds the sockets longer. Processes that the program
// starts inherit none of the library's descriptors and variables.
//
// From New on, and in a new generation from its start, a write to a standard output whose reader is gone returns EPIPE.
//
// A swap is a commit: until the new generation has said that its doors are open, the old one serves
// on, and takes everything back when the new one dies, or does not say so within 10s, in which case
// it is killed. A new generation that is ready and hears nothing from the old one for 15s opens its
// doors by itself. So at each moment of a swap somebody accepts.
//
// A service manager is told of the new generation just before that opens its doors. If the new one
// fails right then, a manager with NotifyAccess=all hears that the old one is the main one again.
// With NotifyAccess=main it hears nothing more: it follows the dead process, and restarts the
// service when the time of its watchdog is over.
//
// Promised: a request that has arrived on a connection of an http.Server given to Serve, or on one
// that the kernel has accepted, is answered, as long as its generation neither crashes nor reaches
// Config.DrainTimeout. What was sent and is not answered all the same, cut off or unread, is
// counted by its kind in Status().Open (Lost, CutOff, Part, Junk), and logged. A client that has
// begun a request of HTTP/1, or a record of TLS, has one Config.IdleGrace to finish it.
//
// Not promised: that a client which sends on a connection the very moment it is closed after Config.IdleGrace gets an
// answer. Handed-over connections are not closed; TLS and HTTP/2 ones are not handed over, and hijacked ones only by
// Service.HandOver. HTTP/2 ends by a GOAWAY after which the client can know what is answered.
package drain
