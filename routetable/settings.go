package routetable

// SettingsName is the name that the cluster's settings stand under: that of its service,
// the first of those that share a source, or as the configuration calls it. Clusters with
// the same one are the same service's.
func (c *Cluster) SettingsName() string { return policyName(c) }
