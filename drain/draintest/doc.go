// Package draintest sends load that never retries, for tests of a service that swaps, drains or
// stops.
//
// http.Client does not show a lost request: its Transport sends a request again, by itself, when a
// kept connection breaks before the answer. A [Client] here sends each request once, on one
// HTTP/1.1 connection, and says how it failed. A [Load] is many of them, with counts:
//
//	load := &draintest.Load{Client: draintest.Client{Addr: "127.0.0.1:8080"}, Keep: 8, Fresh: 2}
//	load.Start(ctx)
//	// kill -HUP; load.Settle(ctx); kill -HUP; load.Settle(ctx)
//	if n := load.Stop(); len(n.Failed)+n.Reconnects > 0 {
//		t.Error(n)
//	}
//
// It is for tests: no package of the library imports it, and it imports the standard library alone.
package draintest
