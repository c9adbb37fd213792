package health_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/baton-go/baton/health"
)

// A service by itself: mount the two routes, and wait for Noticed between Pull
// and Shutdown.
func Example() {
	state, err := health.New(health.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ping", state)
	mux.Handle("/livez", state.Live())
	srv := httptest.NewServer(mux) // http.Server in a real one
	defer srv.Close()

	get := func(path string) {
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(path, resp.StatusCode, string(body))
	}

	get("/ping") // a balancer that has just begun

	state.Pull()
	for range 3 {
		get("/ping")
	}
	get("/livez")
	<-state.Noticed() // the balancer has had three failing answers
	fmt.Println("noticed: now call Shutdown")

	// Output:
	// /ping 200 {"code":0,"message":"success"}
	// /ping 501 {"code":-1,"message":"pulled"}
	// /ping 501 {"code":-1,"message":"pulled"}
	// /ping 501 {"code":-1,"message":"pulled"}
	// /livez 200 {"code":0,"message":"success"}
	// noticed: now call Shutdown
}
