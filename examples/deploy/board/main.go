// Command board shows all nodes of a service in one table: versions and generations side by side, who is out, why, and
// since when. It asks each node's status page (drain/statuspage), and where a list of nodes comes from, what that says.
//
//	go build -o board ./deploy/board
//	./board -nodes 10.0.0.7:8081,10.0.0.8:8081                   # a list
//	./board -consul http://127.0.0.1:8500 -service web -port 8081   # Consul's catalog
//	./board -kubernetes default/app -port 8081                    # the endpoints of a Kubernetes service
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/baton-go/baton/drain"
)

var (
	addr   = flag.String("addr", "127.0.0.1:8088", "serve the board on this `host:port`")
	nodes  = flag.String("nodes", "", "the `addresses` of the status pages: host:port or URL, by commas")
	consul = flag.String("consul", "",
		"take the nodes from the catalog of the Consul agent at this `URL`; CONSUL_HTTP_TOKEN is its token")
	service    = flag.String("service", "web", "the `name` of the service there")
	kubernetes = flag.String("kubernetes", "", "take the nodes from the endpoints of this `namespace/service`")
	api        = flag.String("kubernetes-api", "",
		"the `URL` of its API, as kubectl proxy has one; default: that of the cluster in which this runs")
	port  = flag.String("port", "", "the `port` of the status page, where the list has that of the service")
	path  = flag.String("path", "/", "the `path` of the status page on each node")
	every = flag.Duration("every", time.Second, "how often to ask")
)

func main() {
	flag.Parse()
	from, err := list()
	if err != nil {
		log.Println(err)
		os.Exit(2)
	}
	b := newBoard(from)
	go b.run(*every)
	http.Handle("/", b)
	if err := drain.ListenAndServe(*addr, nil); err != nil {
		log.Fatal(err)
	}
}

// list is where the nodes come from.
func list() (source, error) {
	namespace, name, inCluster := strings.Cut(*kubernetes, "/")
	switch {
	case !strings.HasPrefix(*path, "/") || !strings.HasSuffix(*path, "/"):
		return nil, fmt.Errorf("-path %s: want one that begins and ends with a slash", *path)
	case *nodes != "" && *consul == "" && *kubernetes == "":
		return fixed(strings.Split(*nodes, ",")), nil
	case *consul != "" && *nodes == "" && *kubernetes == "":
		return catalog{*consul, *service, os.Getenv("CONSUL_HTTP_TOKEN")}, nil
	case inCluster && *nodes == "" && *consul == "":
		return newEndpoints(*api, namespace, name)
	}
	return nil, errors.New("want one of -nodes, -consul and -kubernetes namespace/service")
}
