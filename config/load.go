package config

import "reflect"

// Options are what a configuration depends on beside its file. The zero value is
// the process's environment and no override.
type Options struct {
	// Env looks up environment variables, for ${VAR} and for CONSUL_*. Nil:
	// os.LookupEnv.
	Env func(name string) (value string, ok bool)

	// Overrides from flags or USHER_*; the caller resolves which of the two wins.
	// Empty: none. Listen replaces all listeners by one of the name web, Consul
	// all registries by one of Consul, the others one value each.
	Listen, Admin, Consul, LogLevel, LogFormat string
	// Variables are those of USHER_* that an override was taken from, by its flag: {"listen":
	// "USHER_LISTEN"}. What is not in it was given by the flag.
	Variables map[string]string

	// Saw, if not nil, is called with each path or glob the configuration depends
	// on just before it is read, also when the load fails later or the file does
	// not exist. Handing it Watcher.Add leaves no moment in which a change is
	// missed.
	Saw func(path string)
}

// Load reads and checks a configuration; an empty path means the defaults. It
// blocks on file reads alone. Its error is always Errors, with every problem
// found; the Config is nil then. The result belongs to the caller.
func Load(path string, opts Options) (*Config, error) {
	l := newLoader(opts)
	root := mapAt(Pos{File: path})
	if path != "" {
		root = l.tree(path)
	}
	override(root, opts)
	addMissing(root)

	cfg, d := decodeConfig(root, l)
	completeConfig(cfg, d, l)
	if !l.broken {
		checkConfig(cfg, d)
	}
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	cfg.Files, cfg.Globs = l.files, l.globs
	cfg.Hash = hashOf(cfg)
	cfg.origins = origins{file: path, where: d.where, secrets: d.secrets}
	return cfg, nil
}

// decodeConfig decodes the defaults first, because services start from them.
func decodeConfig(root *node, l *loader) (*Config, *decoder) {
	cfg := builtin()
	if n := root.given("defaults"); n != nil {
		first := newDecoder(&problems{}) // what is wrong is told by the second time
		first.secret = (&loader{saw: l.saw, problems: first.problems}).secret
		first.value(n, reflect.ValueOf(&cfg.Defaults).Elem(), "")
	}
	d := newDecoder(l.problems)
	d.secret, d.file = l.secret, l.content
	d.outer = []string{"include"}
	d.startFrom(Service{Policy: cfg.Defaults.Policy})
	for _, v := range elements() {
		d.startFrom(v)
	}
	d.value(root, reflect.ValueOf(cfg).Elem(), "")
	return cfg, d
}
