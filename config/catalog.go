package config

import (
	"reflect"
)

// LoadCatalog reads and checks the catalog of a file registry, as strictly as
// Load reads a configuration, without includes; of opts it uses Env and Saw. The
// routes are not parsed: that is the routing table's job. Its error is always
// Errors, and the result belongs to the caller.
func LoadCatalog(path string, opts Options) (*Catalog, error) {
	l := newLoader(opts)
	cat := &Catalog{}
	data, err := l.read(path, maxFileSize)
	if err != nil {
		l.problems.add(Pos{File: path}, "%v", err)
		return nil, l.problems.err()
	}
	d := newDecoder(l.problems)
	for _, v := range elements() {
		d.startFrom(v)
	}
	root := parse(path, data, l.env, l.problems)
	if root != nil && root.kind != nullNode {
		d.value(root, reflect.ValueOf(cat).Elem(), "")
	}
	completeCatalog(cat)
	newChecker(d).catalog(cat)
	if err := l.problems.err(); err != nil {
		return nil, err
	}
	return cat, nil
}

func completeCatalog(cat *Catalog) {
	for _, s := range cat.Services {
		for i := range s.Instances {
			if s.Instances[i].ID == "" {
				s.Instances[i].ID = s.Instances[i].Address
			}
		}
	}
}

func (c *checker) catalog(cat *Catalog) {
	names := map[string]string{}
	for i, s := range cat.Services {
		at := index("services", i)
		if s.Name == "" {
			c.required(at, "name", "service has no name")
		} else {
			c.name(child(at, "name"), "service", s.Name)
			c.unique(names, at, "service", s.Name)
		}
		ids := map[string]string{}
		for j, inst := range s.Instances {
			c.instance(inst, index(child(at, "instances"), j), ids)
		}
	}
}

func (c *checker) instance(inst CatalogInstance, at string, ids map[string]string) {
	if inst.Address == "" && !c.where.given(child(at, "address")) {
		c.required(at, "address", "instance has no address")
	} else {
		c.dial(child(at, "address"), inst.Address)
	}
	if inst.Weight < 0 {
		c.bad(child(at, "weight"), "weight is negative; 0 drains")
	}
	c.word(child(at, "status"), "status", inst.Status, "passing", "warning", "critical", "maintenance")
	if inst.ID != "" {
		c.instanceID(inst.ID, at, ids)
	}
}

func (c *checker) instanceID(id, at string, ids map[string]string) {
	path := child(at, "id")
	if first, twice := ids[id]; twice {
		c.bad(path, "instance id %q is already taken at %s", shorten(id), c.where.of(first))
		return
	}
	ids[id] = path
}

// dial checks an address to connect to: unlike one to listen on it names a host
// and a port.
func (c *checker) dial(path, address string) {
	host, _, err := splitAddress(address, 1)
	if err == nil && host == "" {
		c.bad(path, "address %q names no host", shorten(address))
	}
	if err != nil {
		c.bad(path, "%v", err)
	}
}
