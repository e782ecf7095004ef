package cmddoctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/adminapi"
	"github.com/caddy-msa/caddy-msa/caddymsa/adminclient"
	"github.com/caddy-msa/caddy-msa/caddymsa/doctor"
	"github.com/caddy-msa/caddy-msa/caddymsa/textfile"
)

// answerTime is more than the server takes to say how it is, which is 4s at most.
const answerTime = 15 * time.Second

// examine runs the checks.
func (o *options) examine(ctx context.Context) ([]doctor.Finding, error) {
	if len(o.remote) > 0 {
		t, err := o.remoteTarget()
		if err != nil {
			return nil, err
		}
		return doctor.Run(ctx, t.Checks()...), nil
	}
	if err := o.admin.GetWithin(cmp.Or(o.patience, answerTime), "/msa/health", new(adminapi.Health)); errors.Is(err, adminclient.ErrNoAnswer) {
		return o.nobody(ctx, err) // the doctor takes longer, and nobody knows how much
	}
	var answer adminapi.DoctorAnswer
	err := o.admin.Post("/msa/doctor", &adminapi.DoctorRequest{Server: o.server, Domains: o.domains, Egress: o.egress, Resolver: o.resolver}, &answer)
	var refused *adminclient.Refused
	if errors.As(err, &refused) && o.server != "" {
		return nil, err // such a server is not there
	}
	if err != nil {
		return o.nobody(ctx, err)
	}
	var found []doctor.Finding
	for _, s := range answer.Servers {
		t, err := o.target()
		if err != nil {
			return nil, err
		}
		t.Ours, t.Hostname, t.StartTLS, t.Implicit, t.Fingerprint, t.Behind = true, s.Hostname, s.StartTLS, s.Implicit, s.Fingerprint, s.Behind
		found = append(found, doctor.Run(ctx, t.Checks()...)...)
	}
	return append(found, answer.Findings...), nil
}

// nobody says that no server of ours can be asked, and whose the ports are.
func (o *options) nobody(ctx context.Context, err error) ([]doctor.Finding, error) {
	n := doctor.About("server", "")
	remedy := "start Caddy with a configuration that has an msa block; for a server of another machine there is --remote"
	if errors.Is(err, adminclient.ErrNoAnswer) {
		remedy = "Caddy hangs, or is stopped: see its log, and start it again"
	}
	n.Wrong(remedy, "the server cannot be asked: %v", err)
	t, err := o.target()
	if err != nil {
		return nil, err
	}
	t.StartTLS, t.Implicit = []string{"localhost:587"}, []string{"localhost:465"}
	return append(n.Findings, t.Whose(ctx)...), nil
}

// roots are the CAs of a file; nil: the system's.
func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err == nil {
		pem, err = textfile.PEM(pem)
	}
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: there is no certificate in %s", file)
	}
	return pool, nil
}
