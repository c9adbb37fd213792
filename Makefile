# What there is to run; .ci/run calls the same. It needs Go, and where a target says so, more.

GO ?= go
MODULE = github.com/baton-go/baton
MODULES = . examples

# The race detector takes cgo.
e2e races: export CGO_ENABLED = 1

# Analysers by version, run from the module proxy: none is a dependency of a module here.
GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Each fuzz test with the number of inputs that it gets: some seconds of them on a quiet machine. A time limit instead
# of a number makes failures by itself, "context deadline exceeded" (golang/go#75804). Those of a package follow each
# other: it is built once.
FUZZERS = \
	FuzzReceive:./drain/internal/link:5000 \
	FuzzElder:./drain:1000 \
	FuzzSuccessor:./drain:1000 \
	FuzzTicketKeys:./drain/internal/tlsconf:10000 \
	FuzzFrames:./listener/internal/h2frame:10000 \
	FuzzRecords:./listener:15000 \
	FuzzConn:./listener:5000 \
	FuzzFramedConn:./listener:10000 \
	FuzzTLSConn:./listener:10000 \
	FuzzSplitState:./listener:10000 \
	FuzzState:./listener/internal/tlsmove:10000 \
	FuzzConnRecords:./listener/internal/tlsmove:10000 \
	FuzzFirst:./listener/internal/tlsmove:700 \
	FuzzParse:./listener/internal/h2state:10000 \
	FuzzTable:./listener/internal/h2state:5000 \
	FuzzImport:./health:5000

.PHONY: help test e2e flows races bench alloc format vet lint cross deps fuzz versions oldest

help: ## print this list
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/make \1	\2/p' Makefile

test: ## tests that start no service: under a minute, no root, no tools
	$(GO) test -short ./...

e2e: ## all tests of the library: real processes, with the race detector; some minutes
	$(GO) test -race ./...

flows: ## the examples behind real balancers: root and the tools of .ci/run; twenty minutes
	$(GO) -C examples test ./...

races: ## the examples whose services run in the process of their tests, with the race detector
	$(GO) -C examples test -race ./chi ./gin ./http3 ./hub ./websocket

bench: ## what tracking costs: the ratio to bare net/http, and allocations
	$(GO) test -run '^$$' -bench TrackedOverBare -benchtime 5s ./listener
	$(GO) test -run '^$$' -bench HandshakeOverBare -benchtime 2s ./listener
	$(GO) test -run '^$$' -bench KeepAlive -benchmem ./listener

alloc: ## the tests of allocations, which the race detector hides
	$(GO) test -count=1 -run Alloc ./listener ./health ./drain/statuspage

format: ## what gofmt would change
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); \
		[ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted"; exit 1; }

vet: ## go vet of both modules
	@set -e; for module in $(MODULES); do $(GO) -C $$module vet ./...; done

lint: format vet ## format, vet, golangci-lint (.golangci.yml), shellcheck
	@set -e; for module in $(MODULES); do \
		echo "lint $$module"; \
		(cd $$module && $(GO) run $(GOLANGCI) run --allow-parallel-runners ./...); \
	done
	git ls-files '*.sh' '.ci/*' | xargs shellcheck

# What nobody runs needs no optimizing: that takes a third less.
QUICK = -gcflags='all=-N -l'

# To the examples FreeBSD is as macOS: no file of theirs tells the two apart, and what they depend on takes minutes.
# Where go build links forty programs, go list -export compiles.
cross: ## vet and compile for macOS, FreeBSD and Windows, and link one service
	@! git ls-files examples | grep -E '_(darwin|freebsd)(_|\.)' && \
		! git grep -E '^//go:build.*(darwin|freebsd)' -- examples || { echo "build the examples for FreeBSD, too"; exit 1; }
	@set -e; for os in darwin freebsd windows; do \
		echo "vet and build for $$os"; \
		GOOS=$$os $(GO) vet $(QUICK) ./...; \
		GOOS=$$os CGO_ENABLED=0 $(GO) list -export $(QUICK) ./... >/dev/null; \
		[ $$os = freebsd ] || GOOS=$$os CGO_ENABLED=0 $(GO) -C examples list -export $(QUICK) ./... >/dev/null; \
		GOOS=$$os CGO_ENABLED=0 $(GO) -C examples build $(QUICK) -o /dev/null ./nethttp; \
	done

deps: ## the modules are as go.sum says, and the library depends on three and no more
	@set -e; for module in $(MODULES); do $(GO) -C $$module mod verify >/dev/null; done
	git diff --exit-code -- go.mod go.sum examples/go.mod examples/go.sum
	@direct=$$($(GO) list -m -f '{{if not .Indirect}}{{.Path}}{{end}}' all | tail -n +2 | tr '\n' ' '); \
		[ "$$direct" = "github.com/cloudflare/tableflip github.com/coreos/go-systemd/v22 golang.org/x/sys " ] || \
		{ echo "dependencies of the root module: $$direct"; exit 1; }

fuzz: ## what another process may send, from seeds that nobody chose
	@forgotten=$$(git grep -hoE '^func Fuzz[A-Za-z0-9]+' -- 'drain/*_test.go' 'listener/*_test.go' 'health/*_test.go' | \
		sed 's/^func //' | sort | while read -r f; do case " $(FUZZERS)" in *" $$f:"*) ;; *) echo "$$f" ;; esac; done); \
		[ -z "$$forgotten" ] || { echo "FUZZERS in the Makefile lacks $$forgotten"; exit 1; }
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; cache=$$($(GO) env GOCACHE)/fuzz; built=; \
	for f in $(FUZZERS); do \
		name=$${f%%:*}; rest=$${f#*:}; pkg=$${rest%:*}; \
		[ "$$pkg" = "$$built" ] || $(GO) test -c -fuzz . -o "$$dir/test" "$$pkg"; built=$$pkg; \
		said=$$(cd "$$pkg" && "$$dir/test" -test.run '^$$' -test.fuzz "^$$name\$$" -test.fuzztime "$${rest##*:}x" \
			-test.fuzzcachedir "$$cache/$(MODULE)/$${pkg#./}" -test.timeout 10m 2>&1) || { echo "$$said"; exit 1; }; \
		case $$said in *"fuzz: elapsed"*) ;; *) echo "$$pkg has no $$name"; exit 1;; esac; \
		echo "$$name" "$$(echo "$$said" | grep '^fuzz: elapsed' | tail -1)"; \
	done

versions: ## two versions of the library in one swap: needs the history of the repository
	$(GO) test -count=1 -run 'TwoVersions|Frozen' ./drain

# Two at once by make -j2: tests mostly wait.
OLDEST = go1.25.4 go1.27.2
.PHONY: $(OLDEST)
oldest: $(OLDEST) ## what depends on net/http and crypto/tls, with the oldest Go and the newest

$(OLDEST):
	GOTOOLCHAIN=$@ $(GO) test -short -count=1 ./listener ./health ./listener/internal/quirks \
		./listener/internal/tlsmove ./drain/internal/tlsconf
	GOTOOLCHAIN=$@ $(GO) test -count=1 -run 'TenSwaps|TLS|Sessions|HandOver|TwoVersions|Jobs' ./drain
