package main

import (
	"context"
	"fmt"

	"usher/config"
	"usher/proxy/certs"
	"usher/watcher/consul"
)

// certificateStore is the key-value store that listeners may have certificates in: that of
// the first Consul.
func (a *app) certificateStore(cfg *config.Config) certs.KV {
	for _, r := range cfg.Registries {
		if r.Consul == nil {
			continue
		}
		// Only what decides whom is asked, and as whom.
		c := config.Consul{
			Address: r.Consul.Address, Addresses: r.Consul.Addresses, Datacenter: r.Consul.Datacenter,
			Datacenters: r.Consul.Datacenters, Namespace: r.Consul.Namespace, Partition: r.Consul.Partition,
			Token: r.Consul.Token, TokenFile: r.Consul.TokenFile, TLS: r.Consul.TLS, MaxStale: r.Consul.MaxStale,
		}
		return certs.KV{
			ID: fmt.Sprintf("%+v", c),
			Watch: func(ctx context.Context, prefix string, got func(map[string][]byte)) error {
				return consul.WatchKeys(ctx, c, prefix, a.log.Logger, got)
			},
		}
	}
	return certs.KV{}
}

// applyCertificates puts the certificates of a configuration's listeners in force.
func (a *app) applyCertificates(cfg *config.Config) {
	a.certs.Apply(cfg.Listeners, a.certificateStore(cfg))
}

// awaitCertificates waits for the certificates in a key-value store, for as long as its
// registry may take to start: clients would be refused without.
func (a *app) awaitCertificates(ctx context.Context, cfg *config.Config) {
	for _, r := range cfg.Registries {
		if r.Consul != nil {
			ctx, cancel := context.WithTimeout(ctx, r.StartTimeout)
			defer cancel()
			a.certs.Wait(ctx)
			return
		}
	}
}
