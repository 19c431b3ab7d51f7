package certs_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"usher/config"
)

// responder answers for an authority, as it is told.
type responder struct {
	*httptest.Server
	ca *authority

	mu     sync.Mutex
	status int
	// length is how long a response is good; down answers 500, hang not at all.
	length     time.Duration
	down, hang bool
	signer     *issued
	asked      int
	quit       chan struct{}
}

func newResponder(t *testing.T, ca *authority) *responder {
	t.Helper()
	r := &responder{ca: ca, length: time.Hour, quit: make(chan struct{})}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() {
		close(r.quit)
		r.Close()
	})
	return r
}

func (r *responder) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *responder) times() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	question, failed := ocsp.ParseRequest(body)
	if err != nil || failed != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.asked++
	down, hang := r.down, r.hang
	now := time.Now()
	template := ocsp.Response{
		Status: r.status, SerialNumber: question.SerialNumber, ThisUpdate: now.Add(-time.Second),
		NextUpdate: now.Add(r.length), RevokedAt: now, IssuerHash: crypto.SHA1,
	}
	cert, key := r.ca.cert, crypto.Signer(r.ca.key)
	if r.signer != nil {
		cert, key = r.signer.leaf, r.signer.signer
		template.Certificate = cert
	}
	r.mu.Unlock()
	switch {
	case hang:
		<-r.quit
		return
	case down:
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	answer, err := ocsp.CreateResponse(r.ca.cert, cert, template, key)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(answer)
}

// stapled returns the status of what is stapled, -1 for nothing.
func (s *scene) stapled(address string, ca *authority) (status int, raw []byte) {
	s.t.Helper()
	state, err := dial(address, &tls.Config{ServerName: "a.example", RootCAs: ca.pool()})
	if err != nil {
		s.t.Fatal(err)
	}
	if state.OCSPResponse == nil {
		return -1, nil
	}
	resp, err := ocsp.ParseResponseForCert(state.OCSPResponse, state.PeerCertificates[0], ca.cert)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.Status, state.OCSPResponse
}

func (s *scene) responses(result string) float64 {
	n, _ := s.sample("usher_tls_ocsp_responses_total", map[string]string{"result": result})
	return n
}

func TestStaple(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	r := newResponder(t, ca)
	s.pair("a", ca.grant(wish{names: []string{"a.example"}, ocsp: r.URL}))
	listener := s.folder()
	listener.OCSP = config.OCSP{Responder: config.OCSPByCertificate, Interval: 50 * time.Millisecond}
	s.apply(listener)
	address, _ := serve(t, s.Config("web"))
	is := func(want int) func() bool {
		return func() bool {
			got, _ := s.stapled(address, ca)
			return got == want
		}
	}
	eventually(t, "a good response is stapled", is(ocsp.Good))
	_, first := s.stapled(address, ca)
	eventually(t, "it is renewed", func() bool {
		_, now := s.stapled(address, ca)
		return !bytes.Equal(first, now)
	})
	// It outlives the responder, and a change of the listener, but not its end.
	r.set(func() { r.down = true })
	eventually(t, "the responder fails", func() bool { return s.responses("failed") > 0 })
	s.apply(listener)
	if !is(ocsp.Good)() {
		t.Error("the staple is gone with the responder")
	}
	if s.log.count("no OCSP response to staple") != 1 {
		t.Errorf("told %d times", s.log.count("no OCSP response to staple"))
	}
	r.set(func() { r.down, r.length = false, 300*time.Millisecond })
	eventually(t, "a short one is there", func() bool {
		_, raw := s.stapled(address, ca)
		resp, err := ocsp.ParseResponse(raw, ca.cert)
		return err == nil && time.Until(resp.NextUpdate) < time.Second
	})
	r.set(func() { r.down = true })
	eventually(t, "it ends", is(-1))
	r.set(func() { r.down, r.length, r.status = false, time.Hour, ocsp.Revoked })
	eventually(t, "revoked", is(ocsp.Revoked))
	if s.log.count("certificate revoked") != 1 {
		t.Errorf("not told:\n%s", s.log)
	}
}

// What a client would refuse is not stapled.
func TestBadStaple(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	r := newResponder(t, ca)
	s.pair("a", ca.issue("a.example"))
	listener := s.folder()
	listener.OCSP = config.OCSP{Responder: r.URL, Interval: 20 * time.Millisecond}
	never := func(what, reason string, f func()) {
		t.Helper()
		before := s.responses("failed")
		r.set(f)
		s.apply(listener)
		eventually(t, what, func() bool { return s.responses("failed") > before+1 && s.log.count(reason) > 0 })
		address, _ := serve(t, s.Config("web"))
		if got, _ := s.stapled(address, ca); got != -1 {
			t.Errorf("%s: stapled %d", what, got)
		}
	}
	never("unknown", "does not know the certificate", func() { r.status = ocsp.Unknown })
	never("over", "has ended at", func() { r.status, r.length = ocsp.Good, -time.Minute })
	leaf := ca.issue("b.example")
	never("signed by a server's key", "signed by who may not", func() { r.length, r.signer = time.Hour, &leaf })
	other := newAuthority(t)
	never("of another authority", "responder "+r.URL, func() { r.signer, r.ca = nil, other })
	delegate := ca.grant(wish{names: []string{"ocsp"}, usage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}})
	r.set(func() { r.ca, r.signer = ca, &delegate })
	address, _ := serve(t, s.Config("web"))
	eventually(t, "a delegate may sign", func() bool {
		got, _ := s.stapled(address, ca)
		return got == ocsp.Good
	})
}

// A responder that hangs holds up no handshake, and not the end either.
func TestHangingResponder(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	r := newResponder(t, ca)
	r.set(func() { r.hang = true })
	s.pair("a", ca.issue("a.example"))
	listener := s.folder()
	listener.OCSP = config.OCSP{Responder: r.URL, Interval: time.Hour}
	s.apply(listener)
	address, _ := serve(t, s.Config("web"))
	eventually(t, "it is asked", func() bool { return r.times() > 0 })
	if got, _ := s.stapled(address, ca); got != -1 {
		t.Errorf("stapled %d", got)
	}
	s.Close() // ends the question
}
