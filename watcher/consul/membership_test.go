package consul

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/proxy/upstream/upstreamtest"
	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// failedNow is in the line that tells the first failure of a row.
const failedNow = "failed; it is tried again"

// memberBench is a Membership and what its Run tells.
type memberBench struct {
	*Membership
	t          *testing.T
	identities chan *Identity
}

// runMember runs a Membership until the test ends.
func runMember(t *testing.T, c config.Consul, log *slog.Logger) *memberBench {
	t.Helper()
	m, err := NewMembership(c, log)
	if err != nil {
		t.Fatal(err)
	}
	b := &memberBench{m, t, make(chan *Identity, 16)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx, func(id *Identity) { b.identities <- id })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return b
}

// next waits for an identity that is as it must be.
func (b *memberBench) next(what string, good func(*Identity) bool) *Identity {
	b.t.Helper()
	limit := time.After(consultest.Patience)
	for {
		select {
		case id := <-b.identities:
			if good(id) {
				return id
			}
		case <-limit:
			b.t.Fatalf("no identity comes: %s", what)
		}
	}
}

func (b *memberBench) none() {
	b.t.Helper()
	select {
	case id := <-b.identities:
		b.t.Errorf("got the identity %s", id.ID)
	default:
	}
}

// verifies says whether an identity's own certificate is one of its mesh.
func verifies(id *Identity) bool {
	between := x509.NewCertPool()
	for _, der := range id.Certificate.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err := id.Certificate.Leaf.Verify(x509.VerifyOptions{
		Roots: id.Roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

// TestMembership: a real agent makes usher a member, renews its certificate when the
// mesh's authority changes, and takes nothing away when it goes.
func TestMembership(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Connect())
	log := &logged{}
	b := runMember(t, member(a.Addr()), log.logger())
	first := b.next("the first", verifies)
	if first.ID != "spiffe://"+first.TrustDomain+"/ns/default/dc/dc1/svc/usher" {
		t.Errorf("it is %s", first.ID)
	}
	a.RotateCA()
	second := b.next("after the rotation", func(id *Identity) bool {
		return id.Certificate.Leaf.SerialNumber.Cmp(first.Certificate.Leaf.SerialNumber) != 0 && verifies(id) &&
			!id.Roots.Equal(first.Roots)
	})
	if second.TrustDomain != first.TrustDomain || second.ID != first.ID {
		t.Errorf("it is %s now", second.ID)
	}
	a.Kill()
	consultest.Eventually(t, "both failures are logged", func() bool { return log.count(failedNow) == 2 })
	b.none()
	a.Restart()
	consultest.Eventually(t, "both recoveries are logged", func() bool { return log.count("works now") == 2 })
	a.RotateCA()
	b.next("after another rotation", func(id *Identity) bool { return verifies(id) && !id.Roots.Equal(second.Roots) })
}

// TestAllowed: the intentions, as they are.
func TestAllowed(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Connect())
	m, err := NewMembership(member(a.Addr()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.conn.transport.CloseIdleConnections()
	is := func(service string, want bool) {
		t.Helper()
		got, err := m.Allowed(t.Context(), watcher.Mesh{Service: service, Namespace: "default", Datacenter: "dc1"})
		if err != nil || got != want {
			t.Errorf("%s: got %t, %v", service, got, err)
		}
	}
	is("orders", true) // by default, without access control
	a.Intend("usher", "orders", false)
	is("orders", false)
	is("cart", true)
	a.Intend("*", "*", false)
	is("cart", false)
	a.Intend("usher", "orders", true)
	is("orders", true)
	a.IntendRequests("usher", "orders", "/public/")
	is("orders", true) // a proxy that goes by the requests lets usher connect
	is("cart", false)
	a.Kill()
	if _, err := m.Allowed(t.Context(), watcher.Mesh{Service: "orders"}); err == nil {
		t.Error("it knows without an agent")
	}
}

// TestIntentionName: the default namespace and partition need no name.
func TestIntentionName(t *testing.T) {
	for want, s := range map[string]watcher.Mesh{
		"a":           {Service: "a"},
		"b":           {Service: "b", Namespace: "default", Partition: "default"},
		"team/c":      {Service: "c", Namespace: "team"},
		"p/team/d":    {Service: "d", Namespace: "team", Partition: "p"},
		"p/default/e": {Service: "e", Partition: "p"},
		"team/f":      {Service: "f", Namespace: "team", Partition: "default"},
	} {
		if got := intentionName(s); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestMembershipRights: to be a member takes the right to write usher's service, which a
// check finds lacking; no more than that and the rights of a watcher.
func TestMembershipRights(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.ACL(), consultest.Connect())
	const least = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }
key_prefix "usher/" { policy = "read" }`
	const write = `service "usher" { policy = "write" }`
	c := member(a.Addr())
	c.KVPrefix = "usher/"
	c.Token = a.NewToken(least)
	log := &logged{}
	b := runMember(t, c, log.logger())
	consultest.Eventually(t, "the refusal is logged", func() bool { return log.count("reason=http_403") == 1 })
	found, err := Probe(t.Context(), c)
	if err != nil || len(found.Problems) != 1 || found.Problems[0] != write {
		t.Errorf("found %q, %v", found.Problems, err)
	}
	b.none()
	a.SetRules(c.Token, least+"\n"+write)
	b.next("with the right", verifies)
	if found, err = Probe(t.Context(), c); err != nil || len(found.Problems) != 0 {
		t.Errorf("found %q, %v", found.Problems, err)
	}
	if _, err := b.Allowed(t.Context(), watcher.Mesh{Service: "orders"}); err != nil {
		t.Errorf("the intentions: %v", err)
	}
}

// TestNoMesh: an agent without a mesh is told of.
func TestNoMesh(t *testing.T) {
	t.Parallel()
	a := consultest.Start(t, consultest.Config("connect { enabled = false }"))
	log := &logged{}
	b := runMember(t, member(a.Addr()), log.logger())
	consultest.Eventually(t, "both failures are logged", func() bool { return log.count(failedNow) == 2 })
	b.none()
	if _, err := Probe(t.Context(), member(a.Addr())); err == nil || !strings.Contains(err.Error(), "service mesh") {
		t.Errorf("the check says %v", err)
	}
	if _, err := NewMembership(conf(a.Addr()), log.logger()); !errors.Is(err, watcher.ErrInvalid) {
		t.Errorf("without a service: %v", err)
	}
}

const (
	leafPath  = "/v1/agent/connect/ca/leaf/usher"
	rootsPath = "/v1/agent/connect/ca/roots"
)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUnusable: what cannot be used takes no place of what can, and an index that falls is
// asked about again.
func TestUnusable(t *testing.T) {
	t.Parallel()
	authority := upstreamtest.NewAuthority(t)
	leafOf := func(names ...string) string {
		_, cert, key := authority.Issue(names...)
		return asJSON(t, api.LeafCert{CertPEM: cert, PrivateKeyPEM: key})
	}
	rootsOf := func(domain string, pems ...string) string {
		list := api.CARootList{TrustDomain: domain}
		for _, p := range pems {
			list.Roots = append(list.Roots, &api.CARoot{ID: "r", RootCertPEM: p})
		}
		return asJSON(t, list)
	}
	const us = "spiffe://x.consul/ns/default/dc/dc1/svc/usher"
	_, cert, _ := authority.Issue(us)
	_, _, otherKey := authority.Issue(us)
	f := newFake(t, map[string]answer{
		leafPath:  {index: 5, body: leafOf(us)},
		rootsPath: {index: 5, body: rootsOf("x.consul", authority.PEM)},
	})
	log := &logged{}
	b := runMember(t, member(f.addr), log.logger())
	b.next("the first", func(id *Identity) bool { return id.ID == us && id.TrustDomain == "x.consul" })
	for name, c := range map[string]struct{ path, body string }{
		"no certificate":          {leafPath, "{}"},
		"another one's key":       {leafPath, asJSON(t, api.LeafCert{CertPEM: cert, PrivateKeyPEM: otherKey})},
		"of another service":      {leafPath, leafOf("spiffe://x.consul/ns/default/dc/dc1/svc/cart")},
		"of a host":               {leafPath, leafOf("usher.test")},
		"no authority":            {rootsPath, rootsOf("x.consul")},
		"no trust domain":         {rootsPath, rootsOf("", authority.PEM)},
		"an authority of nothing": {rootsPath, rootsOf("x.consul", authority.PEM, "text")},
		"an error":                {rootsPath, ""},
	} {
		before := log.count(failedNow)
		f.mu.Lock()
		good := f.answers[c.path]
		f.mu.Unlock()
		bad := answer{index: good.index + 1, body: c.body}
		if c.body == "" {
			bad.status = 500
		}
		f.set(c.path, bad)
		consultest.Eventually(t, name+" is refused", func() bool { return log.count(failedNow) == before+1 })
		good.index += 2
		worked := log.count("works now")
		f.set(c.path, good)
		consultest.Eventually(t, "it works again", func() bool { return log.count("works now") == worked+1 })
		b.none()
	}
	f.set(leafPath+plain, answer{index: 2, body: leafOf(us)})
	f.set(leafPath, answer{index: 1, body: leafOf("spiffe://x.consul/ns/default/dc/dc1/svc/cart")})
	b.next("after the fall of the index", func(id *Identity) bool { return id.ID == us })
}
