package consultest

import (
	"context"

	"github.com/hashicorp/consul/api"
)

// TTL returns a check that the test sets by Pass, Warn and Critical and that does
// not run out meanwhile; status is its first one. When the agent starts again such
// a check is critical, unless one of them has set it.
func TTL(status string) *api.AgentServiceCheck {
	return &api.AgentServiceCheck{TTL: "1h", Status: status}
}

// Register registers a service, or replaces it and its checks, with the agent.
func (a *Agent) Register(service api.AgentServiceRegistration) {
	a.t.Helper()
	a.do("register", func(ctx context.Context) error {
		opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx)
		return a.client.Agent().ServiceRegisterOpts(&service, opts)
	})
}

// Deregister removes a service from the agent by its ID.
func (a *Agent) Deregister(id string) {
	a.t.Helper()
	a.do("deregister", func(ctx context.Context) error {
		return a.client.Agent().ServiceDeregisterOpts(id, query(ctx))
	})
}

// Pass makes the first check of a service, a TTL check, passing.
func (a *Agent) Pass(id string) {
	a.t.Helper()
	a.set(id, api.HealthPassing)
}

// Warn makes the first check of a service, a TTL check, warning.
func (a *Agent) Warn(id string) {
	a.t.Helper()
	a.set(id, api.HealthWarning)
}

// Critical makes the first check of a service, a TTL check, critical.
func (a *Agent) Critical(id string) {
	a.t.Helper()
	a.set(id, api.HealthCritical)
}

func (a *Agent) set(id, status string) {
	a.t.Helper()
	a.do(status, func(ctx context.Context) error {
		return a.client.Agent().UpdateTTLOpts("service:"+id, "set by the test", status, query(ctx))
	})
}

// Maintenance turns the maintenance mode of a service on or off.
func (a *Agent) Maintenance(id string, on bool) {
	a.t.Helper()
	a.do("maintenance", func(ctx context.Context) error {
		if on {
			return a.client.Agent().EnableServiceMaintenanceOpts(id, "test", query(ctx))
		}
		return a.client.Agent().DisableServiceMaintenanceOpts(id, query(ctx))
	})
}

// NodeMaintenance turns the maintenance mode of the agent's node on or off.
func (a *Agent) NodeMaintenance(on bool) {
	a.t.Helper()
	a.do("node maintenance", func(context.Context) error {
		if on {
			return a.client.Agent().EnableNodeMaintenance("test")
		}
		return a.client.Agent().DisableNodeMaintenance()
	})
}

// RegisterCatalog writes to the catalog itself, past the agent: a service on
// another node, for instance.
func (a *Agent) RegisterCatalog(r api.CatalogRegistration) {
	a.t.Helper()
	a.do("register in the catalog", func(ctx context.Context) error {
		_, err := a.client.Catalog().Register(&r, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
}

// DeregisterCatalog removes from the catalog itself.
func (a *Agent) DeregisterCatalog(d api.CatalogDeregistration) {
	a.t.Helper()
	a.do("deregister in the catalog", func(ctx context.Context) error {
		_, err := a.client.Catalog().Deregister(&d, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
}

// NewToken makes a token with these ACL rules and returns its secret. It needs
// [ACL].
func (a *Agent) NewToken(rules string) (secret string) {
	a.t.Helper()
	a.do("make a token", func(ctx context.Context) error {
		w := (&api.WriteOptions{}).WithContext(ctx)
		policy, _, err := a.client.ACL().PolicyCreate(&api.ACLPolicy{Name: newOptions(nil).name, Rules: rules}, w)
		if err != nil {
			return err
		}
		token, _, err := a.client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{ID: policy.ID}}}, w)
		if err == nil {
			secret = token.SecretID
		}
		return err
	})
	return secret
}

// SetRules gives the token with this secret, made by [Agent.NewToken], other ACL rules
// in place of those it has.
func (a *Agent) SetRules(secret, rules string) {
	a.t.Helper()
	a.do("change the rules of a token", func(ctx context.Context) error {
		token, _, err := a.client.ACL().TokenReadSelf((&api.QueryOptions{Token: secret}).WithContext(ctx))
		if err != nil {
			return err
		}
		policy, _, err := a.client.ACL().PolicyRead(token.Policies[0].ID, query(ctx))
		if err != nil {
			return err
		}
		policy.Rules = rules
		_, _, err = a.client.ACL().PolicyUpdate(policy, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
}

// Put writes a key of the key-value store.
func (a *Agent) Put(key, value string) {
	a.t.Helper()
	a.do("put", func(ctx context.Context) error {
		_, err := a.client.KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
}

// Delete removes a key of the key-value store.
func (a *Agent) Delete(key string) {
	a.t.Helper()
	a.do("delete", func(ctx context.Context) error {
		_, err := a.client.KV().Delete(key, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
}

func query(ctx context.Context) *api.QueryOptions { return (&api.QueryOptions{}).WithContext(ctx) }

// do makes one request in bounded time.
func (a *Agent) do(what string, f func(ctx context.Context) error) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	if err := f(ctx); err != nil {
		a.t.Fatalf("consul %s: %s: %v", a.opts.name, what, err)
	}
}
