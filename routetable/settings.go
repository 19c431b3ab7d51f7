package routetable

import (
	"strings"

	"usher/watcher"
)

// SettingsName is the name that the cluster's settings stand under: that of its service,
// the first of those that share a source, or as the configuration calls it. Clusters with
// the same one are the same service's.
func (c *Cluster) SettingsName() string {
	if strings.HasPrefix(c.Name, sharedPrefix) {
		return c.Services[0]
	}
	return settingsOf(c.Name)
}

// wholeName is the name of the cluster of all instances of a service, as the configuration
// calls it, for routes of a kind: each kind speaks to the instances in its own way. No
// service has a space in its name.
func wholeName(kind Kind, service string) string {
	if kind == Requests {
		return service
	}
	return service + " " + kind.String()
}

// kindOfWhole takes a wholeName apart.
func kindOfWhole(name string) (kind Kind, service string) {
	service, protocol, _ := strings.Cut(name, " ")
	return kindOfRoute(protocol), service
}

// settingsOf is the service of a wholeName.
func settingsOf(name string) string {
	_, service := kindOfWhole(name)
	return service
}

// names says whether the configuration has a route to a service.
func (s *ruleSet) names(key watcher.Key) bool {
	for kind := Requests; kind <= Names; kind++ {
		for _, service := range []string{key.Service, key.String()} {
			if _, yes := s.named[wholeName(kind, service)]; yes {
				return true
			}
		}
	}
	return false
}
