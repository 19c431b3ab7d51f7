package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"usher/config"
	"usher/metrics"
)

const (
	// askTimeout bounds one question to a responder, maxResponse its answer, in bytes.
	askTimeout  = 10 * time.Second
	maxResponse = 256 << 10
	// firstRetry is the pause after a failure; it doubles up to the interval.
	firstRetry = 30 * time.Second
	// askers is how many responders are asked at a time.
	askers = 4
	// skew is how far ahead a responder's clock may be.
	skew = 5 * time.Minute
)

// staple is what is known of a certificate's OCSP. One goroutine at a time uses it.
type staple struct {
	// next is when to ask, until is when what is stapled ends; zero: at once, and nothing is.
	next, until time.Time
	pause       time.Duration
	// said is what was logged last.
	said string
}

// stapler keeps OCSP responses stapled to certificates. Its run is one goroutine.
type stapler struct {
	log     *slog.Logger
	metrics *metrics.TLS
	client  *http.Client

	mu   sync.Mutex
	list []*served
	// woken holds a token when list has changed.
	woken chan struct{}
}

func newStapler(log *slog.Logger, m *metrics.TLS) *stapler {
	return &stapler{
		log: log, metrics: m, woken: make(chan struct{}, 1),
		client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}, Timeout: askTimeout},
	}
}

// follow makes the certificates to look after those given.
func (st *stapler) follow(all map[servedKey]*served) {
	var list []*served
	for key, s := range all {
		if key.ocsp.Responder != "" {
			list = append(list, s)
		}
	}
	st.mu.Lock()
	st.list = list
	st.mu.Unlock()
	select {
	case st.woken <- struct{}{}:
	default:
	}
}

// run asks responders when it is time to, until ctx ends.
func (st *stapler) run(ctx context.Context) {
	defer st.client.CloseIdleConnections()
	for {
		wait := st.askDue(ctx)
		select {
		case <-time.After(wait):
		case <-st.woken:
		case <-ctx.Done():
			return
		}
	}
}

// askDue asks for each certificate whose time has come and returns how long it is until
// the next one's.
func (st *stapler) askDue(ctx context.Context) (wait time.Duration) {
	st.mu.Lock()
	list := slices.Clone(st.list)
	st.mu.Unlock()
	var asking sync.WaitGroup
	places := make(chan struct{}, askers)
	for _, s := range list {
		if time.Now().Before(s.staple.next) {
			continue
		}
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			st.renew(ctx, s)
		})
	}
	asking.Wait()
	wait = time.Hour
	now := time.Now()
	for _, s := range list {
		s.expire(now)
		wait = min(wait, max(0, s.staple.next.Sub(now)))
		if !s.staple.until.IsZero() {
			wait = min(wait, s.staple.until.Sub(now))
		}
	}
	return max(wait, time.Millisecond)
}

// expire takes off a staple that has ended: a client refuses it.
func (s *served) expire(now time.Time) {
	if !s.staple.until.IsZero() && !now.Before(s.staple.until) {
		s.staple.until = time.Time{}
		s.cert.Store(&s.pair.cert)
	}
}

// renew asks for a certificate. On an error what is stapled stays until it ends.
func (st *stapler) renew(ctx context.Context, s *served) {
	resp, raw, err := st.ask(ctx, s)
	now := time.Now()
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		s.staple.pause = min(max(firstRetry, 2*s.staple.pause), s.ocsp.Interval)
		s.staple.next = now.Add(s.staple.pause)
		st.metrics.Stapling(metrics.OCSPFailed)
		st.say(s, slog.LevelWarn, "no OCSP response to staple", err.Error())
		return
	}
	s.staple.pause = 0
	s.staple.until = resp.NextUpdate
	if resp.NextUpdate.IsZero() { // it does not tell: newer information is always there
		s.staple.until = now.Add(2 * s.ocsp.Interval)
	}
	s.staple.next = now.Add(min(s.ocsp.Interval, s.staple.until.Sub(now)/2))
	stapled := s.pair.cert
	stapled.OCSPStaple = raw
	s.cert.Store(&stapled)
	if resp.Status == ocsp.Revoked {
		st.metrics.Stapling(metrics.OCSPRevoked)
		st.say(s, slog.LevelError, "certificate revoked", resp.RevokedAt.Format(time.RFC3339))
		return
	}
	st.metrics.Stapling(metrics.OCSPGood)
	st.say(s, slog.LevelDebug, "OCSP response stapled", "")
}

// say logs what has not been logged last.
func (st *stapler) say(s *served, level slog.Level, message, reason string) {
	if said := message + reason; said != s.staple.said {
		s.staple.said = said
		st.log.Log(context.Background(), level, message, "cert", s.pair.label, "reason", reason)
	}
}

// ask asks a responder and checks what it says: a client would refuse the handshake for a
// wrong one.
func (st *stapler) ask(ctx context.Context, s *served) (resp *ocsp.Response, raw []byte, err error) {
	leaf, issuer, err := withIssuer(&s.pair.cert)
	if err != nil {
		return nil, nil, err
	}
	url, err := responderOf(leaf, s.ocsp)
	if err != nil {
		return nil, nil, err
	}
	question, err := ocsp.CreateRequest(leaf, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		return nil, nil, err
	}
	if raw, err = st.post(ctx, url, question); err != nil {
		return nil, nil, err
	}
	if resp, err = ocsp.ParseResponseForCert(raw, leaf, issuer); err != nil {
		return nil, nil, fmt.Errorf("responder %s: %w", url, err)
	}
	return resp, raw, check(resp, issuer, time.Now())
}

// check says what is wrong with a response whose signature is right.
func check(resp *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	signer := resp.Certificate
	switch {
	case resp.Status != ocsp.Good && resp.Status != ocsp.Revoked:
		return errors.New("the responder does not know the certificate")
	case now.Add(skew).Before(resp.ThisUpdate):
		return fmt.Errorf("the response is of %s", resp.ThisUpdate)
	case !resp.NextUpdate.IsZero() && !now.Before(resp.NextUpdate):
		return fmt.Errorf("the response has ended at %s", resp.NextUpdate)
	case signer != nil && !bytes.Equal(signer.Raw, issuer.Raw) &&
		!slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("the response is signed by who may not (RFC 6960 §4.2.2.2)")
	}
	return nil
}

// withIssuer returns a certificate and the next one of its chain.
func withIssuer(c *tls.Certificate) (leaf, issuer *x509.Certificate, err error) {
	if len(c.Certificate) < 2 {
		return nil, nil, errors.New("the certificate comes without its issuer's")
	}
	issuer, err = x509.ParseCertificate(c.Certificate[1])
	return c.Leaf, issuer, err
}

func responderOf(leaf *x509.Certificate, o config.OCSP) (string, error) {
	if o.Responder != config.OCSPByCertificate {
		return o.Responder, nil
	}
	if len(leaf.OCSPServer) == 0 {
		return "", errors.New("the certificate names no responder")
	}
	return leaf.OCSPServer[0], nil
}

func (st *stapler) post(ctx context.Context, url string, question []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	resp, err := st.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("responder %s answered %s", url, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxResponse))
}
