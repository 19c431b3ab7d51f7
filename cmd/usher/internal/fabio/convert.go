package fabio

import (
	"maps"
	"slices"
	"strings"

	"usher/config"
	"usher/watcher"
)

// The files of the output, by the names under which they refer to each other.
const (
	ConfigFile  = "usher.yaml"
	CatalogFile = "services.yaml"
)

// The defaults of a Fabio whose properties say nothing of it.
const (
	DefaultKVPath    = "fabio/config"
	DefaultTagPrefix = "urlprefix-"
)

// Input is a Fabio installation. Every part may be missing.
type Input struct {
	// Properties are Fabio's settings; nil: unknown, and Fabio's defaults are taken.
	Properties *Properties
	// KV is a dump of its keys in Consul.
	KV KV
	// Agent is what Consul knows; nil: it was not asked.
	Agent *Agent
	// ConsulAddress is the agent's, for the configuration; the properties' goes before.
	ConsulAddress string
	// ReadFile reads a file that the properties name; nil: none is read.
	ReadFile func(path string) ([]byte, error)
}

// Result is usher's configuration and what is to be said of it.
type Result struct {
	// Config is the content of ConfigFile.
	Config string
	// Catalog is the content of CatalogFile, to which the configuration refers; empty:
	// there is no need of it.
	Catalog string
	Notes   []Note
}

// conversion is one run of Convert.
type conversion struct {
	in    Input
	props *Properties
	notes notes
	set   settings
	// texts are the route commands, in the order Fabio runs them.
	texts     []Text
	tagPrefix string
	matcher   string
	// listening are the addresses taken.
	listening []string

	// announced is the table of what services announce, table what the commands make of
	// it.
	announced, table table
	// instances are the announced ones by service, sizes their numbers by the name that
	// the configuration gives the service.
	instances map[string][]*AgentInstance
	sizes     map[string]int

	// services are those of the catalog, names what they are called; homes says which one a
	// target came to.
	services []*service
	names    map[string]bool
	homes    map[*target]string
	routes   []config.Route
}

// Convert converts an installation. It never fails: what cannot be converted is told
// in the notes. The result belongs to the caller.
func Convert(in Input) *Result {
	c := &conversion{
		in: in, props: in.Properties, set: settings{backend: "consul", matcher: "prefix"},
		instances: map[string][]*AgentInstance{}, sizes: map[string]int{},
		names: map[string]bool{}, homes: map[*target]string{},
	}
	c.settings()
	c.announce()
	c.runCommands()
	c.buildCatalog()
	c.buildOverrides()
	c.verify()
	return &Result{Config: c.configYAML(), Catalog: c.catalogYAML(), Notes: c.notes.list}
}

// settings takes the properties over.
func (c *conversion) settings() {
	if c.props != nil {
		c.takeProperties(c.props)
	} else {
		c.set.listeners = []fields{{{"name", quote("web")}, {"address", quote(":9999")}}}
		c.set.consul = fields{{"checks_required", "one"}}
		c.notes.add(Differs, "fabio.properties", "was not given: Fabio's defaults are taken for the listener (:9999) "+
			"and for checks_required (one)")
	}
	if c.set.backend == "consul" && c.in.ConsulAddress != "" && c.set.consul.get("address") == "" {
		c.set.consul = c.set.consul.set("address", quote(c.in.ConsulAddress))
	}
	if (c.set.tls.get("cert_file") == "") != (c.set.tls.get("key_file") == "") {
		c.notes.add(Todo, "registry.consul.tls", "usher wants certfile and keyfile together; both were left out")
		c.set.tls = slices.DeleteFunc(c.set.tls, func(f field) bool {
			return f.key == "cert_file" || f.key == "key_file"
		})
	}
	c.matcher = c.set.matcher
	if c.tagPrefix = c.props.Get("registry.consul.tagprefix"); c.tagPrefix == "" {
		c.tagPrefix = DefaultTagPrefix
	}
}

// announce builds the table of what services announce.
func (c *conversion) announce() {
	c.texts = append(c.texts, c.in.KV.Texts...)
	if c.in.Agent == nil {
		c.ignoredKeys(c.in.KV.Ignored)
		return
	}
	c.texts = append(c.texts, c.in.Agent.KV.Texts...)
	c.ignoredKeys(slices.Concat(c.in.KV.Ignored, c.in.Agent.KV.Ignored))
	for i := range c.in.Agent.Instances {
		in := &c.in.Agent.Instances[i]
		c.instances[in.ServiceName] = append(c.instances[in.ServiceName], in)
		c.sizes[in.ServiceName+"@"+consulRegistry]++
		for _, cmd := range c.announcedBy(in) {
			c.addAnnounced(cmd, in)
		}
	}
}

// addAnnounced adds a target to both tables, which don't share it: commands change one.
func (c *conversion) addAnnounced(cmd command, in *AgentInstance) {
	for _, t := range []*table{&c.announced, &c.table} {
		if err := t.add(cmd, in.id()); err != nil {
			c.notes.add(Todo, cmd.where, "%v: correct the tag", err)
		}
	}
}

func (c *conversion) ignoredKeys(keys []string) {
	if n := len(keys); n > 0 {
		c.notes.add(Dropped, "kv", "keys that are not under Fabio's path were ignored: %d, the first is %s", n,
			clip(keys[0]))
	}
}

// runCommands runs the commands on the table.
func (c *conversion) runCommands() {
	changes := false
	for _, text := range c.texts {
		if valid(text.Content) != text.Content {
			c.notes.add(Todo, text.Name, "holds what is not UTF-8; it was replaced by U+FFFD")
		}
		for _, cmd := range parseCommands(text, &c.notes) {
			n, err := c.table.run(cmd)
			changes = changes || cmd.verb != verbAdd
			switch {
			case err != nil:
				c.notes.add(Todo, cmd.where, "%v, and the line was left out", err)
			case cmd.verb == verbAdd && cmd.weight <= 0:
				c.unweighted(cmd)
			case n == 0 && c.in.Agent == nil && c.set.backend == "consul":
				c.notes.add(Todo, cmd.where, "changes no route that was given: if it means services in Consul, "+
					"give --consul to see what to do")
			case n == 0:
				c.notes.add(Dropped, cmd.where, "changes nothing, in Fabio as well")
			}
		}
	}
	if changes && c.in.Agent == nil && c.set.backend == "consul" {
		c.notes.add(Todo, "kv", "there are del or weight commands: "+
			"with --consul they are run on what services announce, too")
	}
}

// unweighted notes the weights that Fabio takes for none.
func (c *conversion) unweighted(cmd command) {
	if cmd.weight < 0 {
		c.notes.add(Differs, cmd.where, "a negative weight is none, and was left out")
	}
}

// catalog is everything that usher would see.
func (c *conversion) catalog() *watcher.Catalog {
	var all []*watcher.Service
	for _, name := range slices.Sorted(maps.Keys(c.instances)) {
		all = append(all, c.announcedService(name, c.instances[name]))
	}
	for _, s := range c.services {
		all = append(all, s.registered())
	}
	for _, s := range all {
		slices.SortFunc(s.Instances, func(a, b watcher.Instance) int { return strings.Compare(a.ID, b.ID) })
	}
	return watcher.NewCatalog(1, all...)
}
