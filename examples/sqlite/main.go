// Command sqlite counts hits in an SQLite database that has one writer, on net/http.
//
//	go build -o app ./sqlite && ./app -db hits.db
//
// Two generations that write get SQLITE_BUSY from each other, and one migrates what the other uses. An owner lets one
// at a time have the database. The old generation closes it, which puts the WAL into the file; the new one opens it.
//
// The driver is modernc.org/sqlite, not mattn/go-sqlite3: it needs no C compiler, and makes a static binary.
// What was answered survives a swap and kill -9 by the WAL alone. With synchronous=FULL it survives a loss of power
// too: each commit is on the disk first. With NORMAL, which is faster, that may lose the last ones.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	_ "modernc.org/sqlite"
)

var (
	addr = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	file = flag.String("db", "hits.db", "keep the hits in this `file`")
)

// Both generations are there when a migration runs: if the swap fails after it, the old one gets the database back. So
// a release may expand what is there, and a later one contracts what its predecessor no longer uses.
var migrations = []string{"CREATE TABLE hits (name TEXT PRIMARY KEY, n INTEGER NOT NULL)"}

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	h := &hits{}
	if err = svc.Own("hits", h); err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hits/{name}", h.hit)
	svc.Serve(ln, &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second})
	return svc.Run(context.Background())
}

// hits is the database. Handlers use db without a lock: none runs before Acquire, or after Release.
type hits struct{ db *sql.DB }

// Acquire opens the database, and migrates it. The transaction also shows that nobody else writes. For an operator's
// shell, say, it waits as long as busy_timeout, which is less than Config.PauseMax.
func (h *hits) Acquire(ctx context.Context, _ io.Reader) error {
	db, err := sql.Open("sqlite",
		"file:"+*file+"?_busy_timeout=1000&_journal_mode=WAL&_synchronous=FULL&_txlock=immediate")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)                   // a second DB, with query_only, may read beside this writer
	if err = migrate(ctx, db); err != nil { // an Acquire that fails leaves nothing open
		return errors.Join(fmt.Errorf("%s: %w", *file, err), db.Close())
	}
	h.db = db
	return nil
}

// Release closes the database. An error would mean that it is open still. What Close leaves in the WAL is not lost.
func (h *hits) Release(context.Context, io.Writer) error {
	if err := h.db.Close(); err != nil {
		slog.Error("close the database", "err", err)
	}
	return nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	done := 0
	err = tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&done)
	for ; err == nil && done < len(migrations); done++ { // a newer version may have done more
		_, err = tx.ExecContext(ctx, fmt.Sprintf("%s; PRAGMA user_version = %d", migrations[done], done+1))
	}
	if err == nil {
		err = tx.Commit()
	}
	return err
}

// hit counts one, and answers once that is committed. d is what else a handler may have to do.
func (h *hits) hit(w http.ResponseWriter, r *http.Request) {
	d, _ := time.ParseDuration(r.FormValue("d"))
	time.Sleep(d)
	const one = "INSERT INTO hits VALUES (?, 1) ON CONFLICT DO UPDATE SET n = n+1"
	if _, err := h.db.ExecContext(r.Context(), one, r.PathValue("name")); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
