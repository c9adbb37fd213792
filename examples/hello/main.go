// Command hello is the whole of a service that loses no request: the program of the README.
//
//	go build -o app ./hello && ./app
//
// The README says what to type then. examples/nethttp has flags, TLS and a control socket too.
package main

import (
	"io"
	"log"
	"net/http"

	"github.com/baton-go/baton/drain"
)

func main() {
	http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	if err := drain.ListenAndServe(":8080", nil); err != nil {
		log.Fatal(err)
	}
}
