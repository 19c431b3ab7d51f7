package certs_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"
)

// authority issues certificates for the length of a test, from any of its goroutines.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	serial int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, cert: cert, key: key, serial: 1}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// wish is a certificate to be issued: an ECDSA one for an hour unless it says otherwise.
type wish struct {
	names []string
	rsa   bool
	// end is when it ends, key what it is for; nil: an own one.
	end   time.Time
	key   crypto.Signer
	ocsp  string
	usage []x509.ExtKeyUsage
}

// issued is a certificate with its chain, and its key, in PEM.
type issued struct {
	leaf      *x509.Certificate
	signer    crypto.Signer
	cert, key []byte
}

// both is the certificate and the key in one text.
func (i issued) both() []byte { return append(append([]byte{}, i.cert...), i.key...) }

func (a *authority) issue(names ...string) issued { return a.grant(wish{names: names}) }

func (a *authority) grant(w wish) issued {
	a.t.Helper()
	a.mu.Lock()
	a.serial++
	serial := a.serial
	a.mu.Unlock()
	if w.end.IsZero() {
		w.end = time.Now().Add(time.Hour)
	}
	if w.key == nil {
		w.key = newKey(a.t, w.rsa)
	}
	if w.usage == nil {
		w.usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: w.names[0]}, DNSNames: w.names,
		NotBefore: w.end.Add(-2 * time.Hour), NotAfter: w.end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: w.usage,
	}
	if w.ocsp != "" {
		template.OCSPServer = []string{w.ocsp}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, w.key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(w.key)
	if err != nil {
		a.t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return issued{
		leaf: leaf, signer: w.key,
		cert: append(chain, a.pem()...),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

func newKey(t testing.TB, useRSA bool) crypto.Signer {
	t.Helper()
	if useRSA {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
