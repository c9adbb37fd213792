package drain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/baton-go/baton/drain/internal/proc"
)

const (
	// maxControlAnswer is more bytes than a Status, or the metrics, have.
	maxControlAnswer = 16 << 20
	// controlAgain is how long another generation may take to answer in the place of one that no longer does.
	controlAgain = time.Millisecond
	notOurs      = "the process at this socket is not a Baton service"
)

// Control is what Client is made of, for a command that is a word, as on a command line. It tells the service whose
// Config.ControlSocket is socket what to do. It returns when that is done, with the service's Status as JSON. Command
// is one of:
//
//   - "status": nothing is done
//   - "health": as "status", and an error if the service does not serve. One that is pulled, swapping or draining
//     serves
//   - "swap", or "reload", which is the same; "pull"; "restore"
//   - "stop": all processes of the service are gone then, also where something was cut off. The service itself must not
//     call it
//   - "metrics": the answer is that of Status.WriteMetrics
//
// An error has the reason for which the service could not do it. It matches the same errors as in the service, such as
// ErrSwapFailed. Or it says that there is no service to ask; it matches ErrStopped then.
//
// The end of ctx ends the waiting, not what was asked for. Without one, Control waits as long as
// the service's own bounds (SwapTimeout; PullMax and DrainTimeout) let it.
//
// Other clients speak HTTP. GET /status, POST /swap, /pull, /restore and /stop answer when it is
// done, with 200 and the Status as JSON. Otherwise they answer with the reason as text, and 409
// (refused), 500 (tried and failed) or 503: another generation has taken over meanwhile, so ask
// again. GET /metrics is for Prometheus, by way of a proxy: it does not scrape unix sockets itself.
func Control(ctx context.Context, socket, command string) (answer []byte, err error) {
	method, verb := http.MethodPost, command
	switch command {
	case "status", "metrics":
		method = http.MethodGet
	case "health":
		method, verb = http.MethodGet, "status"
	case "reload":
		verb = "swap"
	case "swap", "pull", "restore", "stop":
	default:
		return nil, fmt.Errorf("drain: control: unknown command %q: want status, health, metrics, swap, "+
			"reload, pull, restore or stop", command)
	}
	if socket == "" {
		return nil, errors.New("drain: control: no socket: name the one of Config.ControlSocket")
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	for {
		resp, err := request(ctx, client, method, verb)
		if err != nil {
			return nil, fmt.Errorf("drain: control: %w", err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "0" &&
			ctx.Err() == nil {
			time.Sleep(controlAgain)
			continue
		}
		if verb == "stop" {
			err = awaitGone(ctx, socket, resp.Header)
		}
		if resp.StatusCode != http.StatusOK {
			err = errors.Join(errorOf(strings.TrimSpace(string(resp.body)), resp.Header.Get(errorHeader),
				resp.StatusCode == http.StatusConflict), err)
		}
		if command == "health" && err == nil {
			err = healthy(resp.body)
		}
		if err != nil {
			return nil, err
		}
		return resp.body, nil
	}
}

// healthy is an error where a supervisor may end what has answered so.
func healthy(status []byte) error {
	var st Status
	if err := json.Unmarshal(status, &st); err != nil {
		return fmt.Errorf("drain: control: %s: %w", notOurs, err)
	}
	switch st.Phase {
	case Ready, Pulled, Swapping, Draining:
		return nil
	default:
		return fmt.Errorf("drain: control: the service does not serve: it is %s", st.Phase)
	}
}

// response is one that is read to its end.
type response struct {
	*http.Response
	body []byte
}

func request(ctx context.Context, client *http.Client, method, verb string) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://service/"+verb, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	var op *net.OpError
	var inURL *url.Error
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		err = fmt.Errorf("%w; does the service run, with this Config.ControlSocket?", op)
		if errors.Is(op, fs.ErrNotExist) || errors.Is(op, syscall.ECONNREFUSED) {
			err = akin(err, ErrStopped)
		}
		return nil, err
	case errors.Is(err, io.EOF):
		return nil, errors.New("the service has closed the connection without an answer: it has died, or " +
			"is not this user's")
	case errors.As(err, &inURL):
		return nil, inURL.Err
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxControlAnswer+1))
	if len(body) > maxControlAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes: %s", maxControlAnswer, notOurs)
	}
	return &response{resp, body}, err
}

// awaitGone waits until the process that has answered has exited. Nothing but its parent is told, so it asks again and
// again. Outside of the container where the number is its own, it asks the socket, which goes just before.
func awaitGone(ctx context.Context, socket string, said http.Header) error {
	n, err := strconv.Atoi(said.Get(pidHeader))
	if err != nil {
		return fmt.Errorf("drain: control: %s: %s is %q", notOurs, pidHeader, said.Get(pidHeader))
	}
	there := func() bool { return n != os.Getpid() && proc.Alive(n) }
	if of := said.Get(namespaceHeader); of != "" && of != proc.Namespace() {
		there = func() bool {
			nc, err := net.Dial("unix", socket)
			if err == nil {
				_ = nc.Close()
			}
			return err == nil
		}
	}
	for there() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
