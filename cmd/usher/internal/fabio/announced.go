package fabio

import (
	"net"
	"os"
	"strconv"
	"strings"

	"usher/watcher"
)

// The names of the two registries of the output.
const (
	consulRegistry = "consul"
	staticRegistry = "static"
)

// announcedBy are the commands that Fabio makes of an instance's tags.
func (c *conversion) announcedBy(in *AgentInstance) (out []command) {
	var routeTags, tags []string
	for _, t := range in.ServiceTags {
		if t = strings.TrimSpace(t); strings.HasPrefix(t, c.tagPrefix) {
			routeTags = append(routeTags, t)
		} else {
			tags = append(tags, t)
		}
	}
	for _, tag := range routeTags {
		cmd, ok := c.announcedTag(in, tag)
		if cmd.tags = tags; ok {
			out = append(out, cmd)
		}
	}
	return out
}

// announcedTag is the command that Fabio makes of one tag; ok is false when it makes
// none. What it reads otherwise than usher is noted.
func (c *conversion) announcedTag(in *AgentInstance, tag string) (cmd command, ok bool) {
	where := in.ServiceName + "@" + consulRegistry + " " + tag
	src, options, _ := strings.Cut(strings.TrimSpace(tag[len(c.tagPrefix):]), " ")
	cmd = command{
		service: in.ServiceName, src: expandDC(src, in.Datacenter), where: where,
		dst: "http://" + in.address() + "/",
	}
	if cmd.src == "" {
		return cmd, false
	}
	for _, f := range parseOptions(options) {
		switch f.key {
		case "weight":
			c.announcedWeight(&cmd, f.value)
		case "redirect":
			if code, to, has := strings.Cut(f.value, ","); has {
				cmd.dst, cmd.opts = to, cmd.opts.set(f.key, code)
			}
		case "proto":
			cmd.dst, cmd.opts = announcedURL(f.value, in.address()), cmd.opts.set(f.key, f.value)
		default:
			cmd.opts = cmd.opts.set(f.key, f.value)
		}
	}
	return cmd, true
}

// announcedURL is the destination of an instance by its protocol.
func announcedURL(proto, address string) string {
	switch proto {
	case "https", "tcp", "grpc", "grpcs":
		return proto + "://" + address
	default:
		return "http://" + address + "/"
	}
}

func (c *conversion) announcedWeight(cmd *command, value string) {
	w, err := parseNumber(value)
	switch {
	case err != nil:
		c.notes.add(Todo, cmd.where, "%v: correct the tag; Fabio keeps its whole old table for it", err)
	case w == 0:
		c.notes.add(Differs, cmd.where, "weight=0 keeps the instance out; up to Fabio 1.7.3 it means no fixed share")
	case w < 0:
		c.notes.add(Differs, cmd.where, "a negative weight is none to Fabio, and usher refuses it")
	}
	cmd.weight = w
}

// address is where Fabio reaches the instance.
func (in *AgentInstance) address() string {
	host := in.ServiceAddress
	if host == "" {
		host = in.Address
	}
	return net.JoinHostPort(host, strconv.Itoa(in.ServicePort))
}

// id identifies the instance in all of Consul.
func (in *AgentInstance) id() string { return in.Datacenter + "/" + in.Node + "/" + in.ServiceID }

// expandDC expands $DC in a source; other variables become empty.
func expandDC(src, dc string) string {
	return os.Expand(src, func(name string) string {
		if name == "DC" {
			return dc
		}
		return ""
	})
}

// announcedService is a service as usher's own registry would hand it on.
func (c *conversion) announcedService(name string, instances []*AgentInstance) *watcher.Service {
	s := &watcher.Service{Key: watcher.Key{Registry: consulRegistry, Service: name}}
	for _, in := range instances {
		if !watcher.Enabled(in.ServiceMeta) {
			continue
		}
		list := watcher.Announcements(c.tagPrefix, in.ServiceTags, in.ServiceMeta)
		for i := range list {
			src, options, has := strings.Cut(list[i].Text, " ")
			if list[i].Text = expandDC(src, in.Datacenter); has {
				list[i].Text += " " + options
			}
		}
		s.Instances = append(s.Instances, watcher.Instance{
			ID: in.id(), Address: in.address(), Weight: 1, Announcements: list,
			Tags: in.ServiceTags, Meta: in.ServiceMeta,
		})
	}
	return s
}
