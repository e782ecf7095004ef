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
	.ci/lint

# What a release is made of, in dist/: binaries for each system, the Debian packages, SBOMs, checksums. Made twice of one
# commit, it is the same octets: go build without paths, and times that are the commit's. Go writes version and commit into
# a binary that is built in a clone, not in an archive or a worktree.
.PHONY: deb release FORCE
# What comes after a tag is newer than it, for Debian too: v1.2.3-4-gabc is 1.2.3+4.gabc.
VERSION ?= $(shell git describe --tags --dirty 2>/dev/null | sed 's/^v//; s/-\([0-9]*\)-g/+\1.g/' | grep . || echo 0.0.0)
PLATFORMS ?= linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 freebsd-amd64 freebsd-arm64
NFPM = go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
# The SBOM has the hash of the program that made it, which is to be the same wherever that was built.
SBOM = CGO_ENABLED=0 go run -trimpath github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

release:
	rm -rf dist
	$(MAKE) --no-print-directory $(PLATFORMS:%=dist/caddy-msa-$(VERSION)-%) $(patsubst linux-%,deb-%,$(filter linux-%,$(PLATFORMS)))
	for binary in dist/caddy-msa-$(VERSION)-*64; do \
		go version -m $$binary | grep -q vcs.revision= || { echo "$$binary does not say of which commit it is: make the release in a clone"; exit 1; }; \
	done
	cd dist && sha256sum * >SHA256SUMS

# For this machine's architecture, or make deb-arm64.
deb: deb-$(shell go env GOARCH)

deb-%: dist/caddy-msa-$(VERSION)-linux-%
	VERSION=$(VERSION) ARCH=$* BINARY=$< $(NFPM) package -f xcaddy/deb/nfpm.yaml -p deb -t dist/

.SECONDARY: # make would take a binary away again that only a package needs
dist/caddy-msa-$(VERSION)-%: FORCE
	mkdir -p dist
	CGO_ENABLED=0 GOOS=$(firstword $(subst -, ,$*)) GOARCH=$(lastword $(subst -, ,$*)) go build -trimpath -buildvcs=true -ldflags "-s -w" -o $@ ./xcaddy
	$(SBOM) bin -json -noserial -output $@.cdx.json $@
	sed -i "s/^    \"timestamp\": \".*\"/    \"timestamp\": \"$$(date -u -d @$(SOURCE_DATE_EPOCH) +%FT%TZ)\"/" $@.cdx.json
