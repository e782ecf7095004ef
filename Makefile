# What is typed most. `go` alone does all of it but the linters.

.PHONY: build test bench lint

build:
	mkdir -p bin
	go build -o bin/caddy ./xcaddy

test:
	go test ./...

# Measures this server beside a least-work one and, as root, Postfix with Dovecot;
# some twenty minutes. make bench ARGS="-short -row sessions" is quicker.
bench:
	go run ./integration/bench $(ARGS)

# The first call builds golangci-lint, which takes two minutes.
lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	go vet ./...
	.ci/lint
