package statuspage_test

import (
	"context"
	"log"
	"net/http"

	"github.com/baton-go/baton/drain"
	"github.com/baton-go/baton/drain/statuspage"
)

// The page on a port for operators. They may swap, pull and restore, not stop.
func Example() {
	svc, err := drain.New(drain.Config{})
	if err != nil {
		log.Fatal(err)
	}
	operators := http.NewServeMux()
	operators.Handle("/baton/", statuspage.New(svc, statuspage.Options{
		Allow: func(_ *http.Request, a statuspage.Action) bool { return a != statuspage.Stop },
	}))
	for address, h := range map[string]http.Handler{":8080": http.DefaultServeMux, "localhost:6060": operators} {
		ln, err := svc.Listen("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		svc.Serve(ln, &http.Server{Handler: h})
	}
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
