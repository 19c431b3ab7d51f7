package file

import (
	"usher/config"
	"usher/watcher"
)

// Read returns the services of a catalog file as a registry of that name would announce
// them now; names among the addresses are not resolved.
func Read(path, registry string, opts config.Options) ([]*watcher.Service, error) {
	catalog, err := config.LoadCatalog(path, opts)
	if err != nil {
		return nil, err
	}
	services := make([]*watcher.Service, 0, len(catalog.Services))
	for i := range catalog.Services {
		s := &catalog.Services[i]
		services = append(services, &watcher.Service{
			Key: watcher.Key{Registry: registry, Service: s.Name}, Instances: instances(s),
		})
	}
	return services, nil
}
