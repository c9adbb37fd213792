package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// place is a node as a list knows it.
type place struct {
	Name string
	URL  string // of its status page, with a slash at the end
	Out  string // why the list sends nobody there; "": it does, or does not know
}

// source is a list of nodes, as it is now.
type source interface {
	places(ctx context.Context) ([]place, error)
}

// pageAt is the URL of the status page at host:port, or at a URL as it is.
func pageAt(address string) string {
	if strings.Contains(address, "://") {
		return strings.TrimRight(address, "/") + "/"
	}
	if host, _, err := net.SplitHostPort(address); err == nil && *port != "" {
		address = net.JoinHostPort(host, *port)
	}
	return "http://" + address + *path
}

// fixed are the addresses of -nodes.
type fixed []string

func (f fixed) places(context.Context) (all []place, err error) {
	for _, address := range f {
		address = strings.TrimSpace(address)
		name := address
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			name = u.Host
		}
		all = append(all, place{Name: name, URL: pageAt(address)})
	}
	return all, nil
}

// catalog is a service in Consul's.
type catalog struct{ agent, service, token string }

func (c catalog) places(ctx context.Context) (all []place, err error) {
	var entries []struct {
		Node    struct{ Node, Address string }
		Service struct {
			ID, Address string
			Port        int
		}
		Checks []struct{ CheckID, Name, Status, Notes string }
	}
	err = get(ctx, http.DefaultClient, c.agent+"/v1/health/service/"+url.PathEscape(c.service),
		"X-Consul-Token", c.token, &entries)
	for _, e := range entries {
		p := place{Name: e.Service.ID, URL: pageAt(address(e.Service.Address, e.Node.Address, e.Service.Port))}
		for _, check := range e.Checks {
			switch {
			case strings.HasPrefix(check.CheckID, "_service_maintenance") || check.CheckID == "_node_maintenance":
				p.Out = strings.TrimRight("maintenance in Consul: "+check.Notes, ": ")
			case check.Status == "critical" && p.Out == "":
				p.Out = "critical in Consul: " + check.Name
			}
		}
		all = append(all, p)
	}
	return all, err
}

func address(of, node string, port int) string {
	if of == "" {
		of = node
	}
	return net.JoinHostPort(of, strconv.Itoa(port))
}

// endpoints are those of a service of Kubernetes.
type endpoints struct {
	url    string
	token  string // the file that has it: it is renewed
	client *http.Client
}

// account is where a pod finds what it needs to ask its cluster.
const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func newEndpoints(api, namespace, service string) (*endpoints, error) {
	e := &endpoints{client: http.DefaultClient}
	if api == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		ca, err := os.ReadFile(account + "ca.crt")
		if host == "" || err != nil {
			return nil, fmt.Errorf("this is no pod (%w): want -kubernetes-api, such as that of kubectl proxy", err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		e.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		api, e.token = "https://"+net.JoinHostPort(host, port), account+"token"
	}
	e.url = strings.TrimRight(api, "/") + "/apis/discovery.k8s.io/v1/namespaces/" + url.PathEscape(namespace) +
		"/endpointslices?labelSelector=" + url.QueryEscape("kubernetes.io/service-name="+service)
	return e, nil
}

func (e *endpoints) places(ctx context.Context) (all []place, err error) {
	var slices struct {
		Items []struct {
			Endpoints []struct {
				Addresses  []string
				Conditions struct{ Ready, Serving, Terminating *bool }
				TargetRef  struct{ Name string }
			}
			Ports []struct{ Port int }
		}
	}
	token := ""
	if e.token != "" {
		text, err := os.ReadFile(e.token)
		if err != nil {
			return nil, err
		}
		token = "Bearer " + strings.TrimSpace(string(text))
	}
	err = get(ctx, e.client, e.url, "Authorization", token, &slices)
	is := func(b *bool, unknown bool) bool { return b == nil && unknown || b != nil && *b }
	for _, s := range slices.Items {
		for _, end := range s.Endpoints {
			if len(end.Addresses) == 0 || len(s.Ports) == 0 {
				continue
			}
			p := place{Name: end.TargetRef.Name, URL: pageAt(address(end.Addresses[0], "", s.Ports[0].Port))}
			switch {
			case is(end.Conditions.Terminating, false):
				p.Out = "its pod is being deleted"
			case !is(end.Conditions.Ready, true):
				p.Out = "its endpoint is not ready"
			}
			if p.Name == "" {
				p.Name = end.Addresses[0]
			}
			all = append(all, p)
		}
	}
	return all, err
}

// get asks for JSON.
func get(ctx context.Context, client *http.Client, url, header, value string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if value != "" {
		req.Header.Set(header, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s answers %s", req.URL.Redacted(), resp.Status)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 8<<20)).Decode(into); err != nil {
		return fmt.Errorf("GET %s: no such JSON: %w", req.URL.Redacted(), err)
	}
	return nil
}
