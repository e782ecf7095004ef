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

# What a release is made of, in dist/: binaries for each system, the Debian packages, SBOMs, checksums. Made twice of one
# commit, it is the same octets: go build of a clean clone without paths, and times that are the commit's.
.PHONY: deb release
VERSION ?= $(shell git describe --tags --dirty 2>/dev/null | sed 's/^v//' | grep . || echo 0.0.0)
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 freebsd/amd64 freebsd/arm64
NFPM = go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
SBOM = go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.9.0
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

release:
	rm -rf dist && mkdir dist
	for platform in $(PLATFORMS); do \
		$(MAKE) --no-print-directory dist/caddy-msa-$(VERSION)-$$(echo $$platform | tr / -) OS=$${platform%/*} ARCH=$${platform#*/} || exit 1; \
	done
	for arch in $$(echo $(PLATFORMS) | tr ' ' '\n' | sed -n 's,^linux/,,p'); do $(MAKE) --no-print-directory deb ARCH=$$arch || exit 1; done
	cd dist && sha256sum * >SHA256SUMS

dist/caddy-msa-%:
	mkdir -p dist
	CGO_ENABLED=0 GOOS=$(OS) GOARCH=$(ARCH) go build -trimpath -buildvcs=true -ldflags "-s -w" -o $@ ./xcaddy
	$(SBOM) bin -json -noserial -output $@.cdx.json $@
	sed -i "s/^    \"timestamp\": \".*\"/    \"timestamp\": \"$$(date -u -d @$(SOURCE_DATE_EPOCH) +%FT%TZ)\"/" $@.cdx.json

deb:
	VERSION=$(VERSION) ARCH=$(ARCH) BINARY=dist/caddy-msa-$(VERSION)-linux-$(ARCH) $(NFPM) package -f xcaddy/deb/nfpm.yaml -p deb -t dist/
