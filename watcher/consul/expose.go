package consul

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"usher/config"
	"usher/watcher"
)

// consulName is the service that Consul registers for its own servers. It is never
// routed.
const consulName = "consul"

// exposeAll is the expose that lets every service take part.
const exposeAll = "all"

// lastRouteKey is the highest number of a numbered meta key that is looked for.
const lastRouteKey = 9

// wantsTags says whether a service is to be watched, by its name and the tags that
// the catalog lists for all its instances together.
func (m *mapper) wantsTags(name string, tags []string) bool {
	if name == consulName {
		return false
	}
	if m.exposes(name) || slices.Contains(tags, watcher.TagEnable) {
		return true
	}
	return slices.ContainsFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, m.conf.TagPrefix) })
}

// metaFilterFor selects, at the agent, the services that speak to usher in their
// meta. The agent's language compares the keys of a map by equality alone, so that
// the numbered ones are written out: a service whose only rule stands in a key with
// another number is not found by it.
func metaFilterFor(config.Consul) string {
	keys := []string{watcher.MetaRoute}
	for i := 1; i <= lastRouteKey; i++ {
		keys = append(keys, watcher.MetaRoute+"-"+strconv.Itoa(i))
	}
	var b strings.Builder
	for _, key := range keys {
		b.WriteString(strconv.Quote(key) + " in ServiceMeta or ")
	}
	return b.String() + "ServiceMeta[" + strconv.Quote(watcher.MetaEnable) + `] == "true"`
}

// exposes says whether a service takes part without asking for it.
func (m *mapper) exposes(name string) bool { return m.conf.Expose == exposeAll && name != m.self }

// addDefault gives the instances that take part the default route, when none of
// the service announces a rule.
func (m *mapper) addDefault(entries []*api.ServiceEntry, instances []watcher.Instance) {
	if m.conf.DefaultRoute == "" || len(instances) == 0 || slices.ContainsFunc(instances, announces) {
		return
	}
	name := entries[0].Service.Service
	rule := watcher.Announcement{
		Origin: watcher.FromDefault, Where: "default_route",
		Text: strings.ReplaceAll(m.conf.DefaultRoute, "{service}", strings.ToLower(name)),
	}
	for i := range instances {
		if in := &instances[i]; m.exposes(name) || watcher.OptedIn(in.Tags, in.Meta) {
			in.Announcements = []watcher.Announcement{rule}
		}
	}
}

func announces(in watcher.Instance) bool { return len(in.Announcements) > 0 }
