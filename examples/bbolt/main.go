// Command bbolt counts hits in a bbolt database, on Gin. bbolt locks its file: one process at a time can have it open.
//
//	go build -o app ./bbolt && ./app -db hits.db
//	curl -X POST 127.0.0.1:8080/hits/home
//
// A swap starts the new generation while the old one serves. So main can't open the database: the new generation would
// wait there for a lock that it gets when it is ready. An owner opens and closes it when it is time to. Requests wait
// meanwhile, in no generation's handler.
//
// bbolt has each commit on the disk before Update or Batch returns. What was answered survives a swap, kill -9, and a
// loss of power. So Release has nothing to hand over: the next generation reads it from the file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/drainflag"
	"github.com/gin-gonic/gin"
	"go.etcd.io/bbolt"
)

var (
	addr = flag.String("addr", "127.0.0.1:8080", "listen on this `host:port`")
	file = flag.String("db", "hits.db", "keep the hits in this `file`")
)

func main() { drainflag.Main("APP_", drain.Config{}, run) }

func run(cfg drain.Config) error {
	svc, err := drain.New(cfg)
	if err != nil {
		return err
	}
	h := &hits{}
	if err := svc.Own("hits", h); err != nil {
		return err
	}
	ln, err := svc.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-addr %s: %w", *addr, err)
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.POST("/hits/:name", h.hit)
	svc.Serve(ln, &http.Server{Handler: r.Handler(), ReadHeaderTimeout: 10 * time.Second})
	return svc.Run(context.Background())
}

// hits is the database. Handlers use db without a lock: none runs before Acquire, or after Release.
type hits struct{ db *bbolt.DB }

var bucket = []byte("hits")

// Acquire opens the database. Where the old generation was killed, its lock may last some milliseconds longer. A lock
// that lasts a second is another program's: without a Timeout, Open would wait for that too, and knows no ctx.
func (h *hits) Acquire(context.Context, io.Reader) error {
	db, err := bbolt.Open(*file, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("%s, which no other process may have open: %w", *file, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil { // an Acquire that fails leaves nothing open
		return errors.Join(err, db.Close())
	}
	h.db = db
	return nil
}

// Release closes the database, which frees its lock. It returns no error: that would mean that the database is open
// still. No commit depends on Close. If the lock is not free, the next Acquire says so.
func (h *hits) Release(context.Context, io.Writer) error {
	if err := h.db.Close(); err != nil {
		slog.Error("close the database", "err", err)
	}
	return nil
}

// hit counts one, and answers with the sum once that is on the disk. d is what else a handler may have to do.
func (h *hits) hit(c *gin.Context) {
	d, _ := time.ParseDuration(c.Query("d"))
	time.Sleep(d)
	var n int
	err := h.db.Batch(func(tx *bbolt.Tx) error { // in one commit with the hits of other handlers
		b, name := tx.Bucket(bucket), []byte(c.Param("name"))
		n, _ = strconv.Atoi(string(b.Get(name))) // 0 of one that is not there
		n++
		return b.Put(name, []byte(strconv.Itoa(n)))
	})
	if err != nil {
		c.String(http.StatusInternalServerError, "%v\n", err)
		return
	}
	c.String(http.StatusOK, "%d\n", n)
}
