package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// savedAccount is an account as the store keeps it: in one value, so that its key never
// belongs to another one.
type savedAccount struct {
	Account acme.Account `json:"account"`
	// Key is its private key in PEM.
	Key string `json:"key"`
}

// accountKey is where the account lies: each address that an authority may write to has
// its own.
func (i *issuer) accountKey() string {
	who := "nobody"
	if i.conf.Email != "" {
		who = i.conf.Email
	}
	return path.Join("accounts", certmagic.StorageKeys.Safe(i.IssuerKey()), certmagic.StorageKeys.Safe(who)+".json")
}

// account returns the account that ushers with this store share, and makes it when there
// is none. unknown is the location of one that the authority has forgotten; empty: none.
func (i *issuer) account(ctx context.Context, client *acmez.Client, unknown string) (acme.Account, error) {
	a, err := i.loadAccount(ctx)
	if err == nil && a.Location != unknown || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	lock := "register_" + i.IssuerKey()
	if err := i.store.Lock(ctx, lock); err != nil {
		return a, fmt.Errorf("lock the registration: %w", err)
	}
	defer func() {
		if err := i.store.Unlock(context.WithoutCancel(ctx), lock); err != nil {
			i.log.Warn("cannot unlock the registration", "err", err)
		}
	}()
	a, err = i.loadAccount(ctx) // somebody else may have been faster
	if err == nil && a.Location != unknown || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	return i.register(ctx, client)
}

// register makes an account and saves it.
func (i *issuer) register(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, err
	}
	a := acme.Account{TermsOfServiceAgreed: true, PrivateKey: key}
	if i.conf.Email != "" {
		a.Contact = []string{"mailto:" + i.conf.Email}
	}
	if a, err = client.NewAccount(ctx, a); err != nil {
		return a, fmt.Errorf("register an account: %w", err)
	}
	pem, err := certmagic.PEMEncodePrivateKey(a.PrivateKey)
	if err != nil {
		return a, err
	}
	data, err := json.Marshal(savedAccount{Account: a, Key: string(pem)})
	if err != nil {
		return a, err
	}
	if err := i.store.Store(ctx, i.accountKey(), data); err != nil {
		return a, fmt.Errorf("save the account: %w", err)
	}
	return a, nil
}

func (i *issuer) loadAccount(ctx context.Context) (acme.Account, error) {
	data, err := i.store.Load(ctx, i.accountKey())
	if err != nil {
		return acme.Account{}, fmt.Errorf("load the account: %w", err)
	}
	var s savedAccount
	if err := json.Unmarshal(data, &s); err != nil {
		return acme.Account{}, fmt.Errorf("the stored account: %w", err)
	}
	key, err := certmagic.PEMDecodePrivateKey([]byte(s.Key))
	if err != nil {
		return acme.Account{}, fmt.Errorf("the key of the stored account: %w", err)
	}
	s.Account.PrivateKey = key
	return s.Account, nil
}
