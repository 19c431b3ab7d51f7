package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"usher/config"
)

const (
	// requestTimeout bounds a request to an authority, issueTimeout a whole certificate.
	requestTimeout = 30 * time.Second
	issueTimeout   = 5 * time.Minute
)

// issuer asks an authority for certificates. It is a certmagic.Issuer instead of
// certmagic's own, which binds the ports of the challenges when nobody else has.
type issuer struct {
	conf       config.ACME
	store      Store
	http       *http.Client
	challenges *challenges
	// stored returns the certificate for a name that the store had when this turn began,
	// which another usher may have renewed since it was served here. Nil: none.
	stored func(name string) *tls.Certificate
	log    *slog.Logger
}

// errRoots is a text without a certificate.
var errRoots = errors.New("no certificate in PEM")

// newHTTPClient returns a client that trusts roots, or the system's if that is empty.
func newHTTPClient(roots string) (*http.Client, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: requestTimeout, IdleConnTimeout: requestTimeout, MaxIdleConnsPerHost: atOnce,
	}
	if roots != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(roots)) {
			return nil, fmt.Errorf("acme.ca_root_file: %w", errRoots)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: t, Timeout: requestTimeout}, nil
}

// client returns a client of the authority, for one certificate.
func (i *issuer) client() *acmez.Client {
	c := &acmez.Client{
		Client:           &acme.Client{Directory: i.conf.CA, HTTPClient: i.http, UserAgent: "usher", Logger: i.log},
		ChallengeSolvers: map[string]acmez.Solver{},
	}
	for _, name := range i.conf.Challenges {
		c.ChallengeSolvers[name] = i.challenges
	}
	return c
}

// IssuerKey implements certmagic.Issuer: it names the authority in the keys of the store.
func (i *issuer) IssuerKey() string {
	u, err := url.Parse(i.conf.CA)
	if err != nil {
		return i.conf.CA
	}
	return strings.ReplaceAll(strings.Trim(u.Host+u.Path, "/"), "/", "-")
}

// Issue implements certmagic.Issuer.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	attemptOf(ctx).asked = true
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	client := i.client()
	account, err := i.account(ctx, client, "")
	if err != nil {
		return nil, err
	}
	chains, err := i.order(ctx, client, account, csr)
	if problem, ok := errors.AsType[acme.Problem](err); ok && problem.Type == acme.ProblemTypeAccountDoesNotExist {
		// The authority was set up anew, as private ones are.
		if account, err = i.account(ctx, client, account.Location); err == nil {
			chains, err = i.order(ctx, client, account, csr)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return nil, errors.New("the authority offers no certificate")
	}
	return &certmagic.IssuedCertificate{Certificate: chains[0].ChainPEM, Metadata: chains[0]}, nil
}

func (i *issuer) order(
	ctx context.Context, client *acmez.Client, account acme.Account, csr *x509.CertificateRequest,
) ([]acme.Certificate, error) {
	params, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, err
	}
	params.Replaces = i.replaces(csr)
	chains, err := client.ObtainCertificate(ctx, params)
	if params.Replaces != nil && refused(err) {
		// Perhaps another account asked for the old one, or another authority made it.
		params.Replaces = nil
		return client.ObtainCertificate(ctx, params)
	}
	return chains, err
}

// refused says whether an authority would not have an order, whoever holds its names.
func refused(err error) bool {
	problem, ok := errors.AsType[acme.Problem](err)
	_, validated := problem.Resource.(acme.Authorization)
	return ok && !validated && problem.Status/100 == 4 && problem.Status != http.StatusTooManyRequests &&
		problem.Type != acme.ProblemTypeAccountDoesNotExist
}

// replaces returns the certificate that a new one is to take the place of: an
// authority counts such an order less strictly (RFC 9773 §5). Nil: there is none.
func (i *issuer) replaces(csr *x509.CertificateRequest) *x509.Certificate {
	if len(csr.DNSNames) != 1 {
		return nil
	}
	old := i.stored(csr.DNSNames[0])
	if old == nil || len(old.Leaf.AuthorityKeyId) == 0 || time.Now().After(old.Leaf.NotAfter) {
		return nil
	}
	return old.Leaf
}

// GetRenewalInfo implements certmagic.RenewalInfoGetter.
func (i *issuer) GetRenewalInfo(ctx context.Context, cert certmagic.Certificate) (acme.RenewalInfo, error) {
	return i.client().GetRenewalInfo(ctx, cert.Leaf)
}
