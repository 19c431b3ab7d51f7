package config

import "path/filepath"

// The challenges by which an ACME server finds out who holds a name.
const (
	// ChallengeHTTP01 is answered by the http listeners (RFC 8555 §8.3).
	ChallengeHTTP01 = "http-01"
	// ChallengeTLSALPN01 is answered by the listeners with tls.acme (RFC 8737).
	ChallengeTLSALPN01 = "tls-alpn-01"
)

// Where certificates from ACME are kept.
const (
	ACMEFile   = "file"
	ACMEConsul = "consul"
)

// ACME says which certificates usher obtains and renews by itself (RFC 8555). Without
// Domains it obtains none.
type ACME struct {
	// Email is where the authority may write to. Empty: it cannot.
	Email string `yaml:"email"`
	// CA is the URL of the authority's directory.
	CA string `yaml:"ca"`
	// CARootFile holds the authorities to trust when it is asked. Empty: the system's.
	CARootFile string `yaml:"ca_root_file" path:"true"`
	// Domains are the names to hold a certificate for, one each.
	Domains []string `yaml:"domains"`
	// Challenges are those that may be used.
	Challenges []string `yaml:"challenges"`
	// Storage is where accounts, keys and certificates are kept.
	Storage ACMEStorage `yaml:"storage"`

	// CARoots is the content of CARootFile, checked; empty where there is no file.
	CARoots string `yaml:"-" hash:"true"`
}

// ACMEStorage is where accounts, keys and certificates are kept. Ushers that share one
// share the certificates, and one of them renews.
type ACMEStorage struct {
	// Type is file or consul.
	Type string `yaml:"type"`
	// Path is the folder, with file. Default: acme in the state_dir.
	Path string `yaml:"path" path:"true"`
	// Registry is the name of the Consul whose key-value store is used, with consul.
	// Default: the first one.
	Registry string `yaml:"registry"`
	// Prefix is where in that store.
	Prefix string `yaml:"prefix"`
}

// Enabled says whether there is anything to obtain.
func (a *ACME) Enabled() bool { return len(a.Domains) > 0 }

// defaultACME is the section where the file says nothing.
func defaultACME() ACME {
	return ACME{
		CA:         "https://acme-v02.api.letsencrypt.org/directory",
		Challenges: []string{ChallengeHTTP01, ChallengeTLSALPN01},
		Storage:    ACMEStorage{Type: ACMEFile, Prefix: "usher-acme/"},
	}
}

// completeACME writes names as they are compared, and fills in what depends on other
// sections.
func completeACME(cfg *Config, d *decoder, l *loader) {
	a := &cfg.ACME
	for i, name := range a.Domains {
		a.Domains[i] = lowerASCII(name)
	}
	r := &pemReader{decoder: d, loader: l, read: map[string]string{}, failed: map[string]bool{}}
	a.CARoots = r.file(a.CARootFile, "acme.ca_root_file")
	if !a.Enabled() {
		return
	}
	switch s := &a.Storage; s.Type {
	case ACMEFile:
		if s.Path == "" && cfg.StateDir != "" {
			s.Path = filepath.Join(cfg.StateDir, "acme")
		}
	case ACMEConsul:
		for i := 0; s.Registry == "" && i < len(cfg.Registries); i++ {
			if cfg.Registries[i].Consul != nil {
				s.Registry = cfg.Registries[i].Name
			}
		}
	}
}
