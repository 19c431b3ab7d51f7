package tracing

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// settings are what the environment says, as far as it is not for the SDK and its exporters
// to read.
type settings struct {
	// exporters are "otlp" and "console"; none: tracing is off.
	exporters []string
	// protocol and endpoint are those of OTLP; an empty endpoint is the exporter's default.
	protocol, endpoint string
	sampler            sampler
	samplerName        string
	formats            []format
	formatNames        []string
	// queue is how many spans may wait for their export.
	queue int
	// warnings are what could not be understood.
	warnings []string
}

// environment reads variables. One that is empty counts as not set.
type environment func(string) string

// setting is the value for traces of an exporter's variable, and the variable it is from.
func (get environment) setting(name string) (value, from string) {
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"} {
		if v := strings.TrimSpace(get(prefix + name)); v != "" {
			return v, prefix + name
		}
	}
	return "", ""
}

// words are the elements of a list, each once.
func words(list string) (out []string) {
	for w := range strings.SplitSeq(list, ",") {
		if w = strings.ToLower(strings.TrimSpace(w)); w != "" && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// The protocols of OTLP.
const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
	protocolJSON = "http/json"
)

// readEnvironment returns what the environment says.
func readEnvironment(get environment) *settings {
	s := &settings{protocol: protocolHTTP}
	switch v := strings.ToLower(strings.TrimSpace(get("OTEL_SDK_DISABLED"))); v {
	case "true":
		return s
	case "", "false":
	default:
		s.warn("OTEL_SDK_DISABLED", v, "it is true or false; taken for false")
	}
	s.readExporters(get)
	if len(s.exporters) == 0 {
		return s
	}
	s.readSampler(get)
	s.readFormats(get)
	s.readQueue(get)
	if slices.Contains(s.exporters, "otlp") {
		s.checkExporter(get)
	}
	return s
}

func (s *settings) warn(name, value, why string) {
	s.warnings = append(s.warnings, fmt.Sprintf("%s=%q: %s", name, value, why))
}

// readExporters decides whether there is anything to do: without a word of the operator's
// nothing is sent to the default address, where mostly nobody listens.
func (s *settings) readExporters(get environment) {
	endpoint, from := get.setting("ENDPOINT")
	list := words(get("OTEL_TRACES_EXPORTER"))
	if len(list) == 0 && endpoint != "" {
		list = []string{"otlp"}
	}
	for _, name := range list {
		switch name {
		case "otlp", "console":
			s.exporters = append(s.exporters, name)
		case "none":
		default:
			s.warn("OTEL_TRACES_EXPORTER", name, "there are otlp, console and none; ignored")
		}
	}
	if slices.Contains(list, "none") {
		s.exporters = nil
	}
	if !slices.Contains(s.exporters, "otlp") {
		return
	}
	s.readProtocol(get)
	s.endpoint = endpoint
	if why := endpointFault(endpoint, s.protocol); why != "" {
		s.warn(from, redacted(endpoint), why+"; no traces are sent by OTLP")
		s.exporters = slices.DeleteFunc(s.exporters, func(name string) bool { return name == "otlp" })
	}
}

func (s *settings) readProtocol(get environment) {
	v, from := get.setting("PROTOCOL")
	switch v {
	case protocolGRPC, protocolHTTP, protocolJSON:
		s.protocol = v
	case "":
	default:
		s.warn(from, v, "there are grpc, http/protobuf and http/json; http/protobuf is used")
	}
}

// endpointFault says why there can be no collector at an endpoint; empty: there can.
func endpointFault(endpoint, protocol string) string {
	if endpoint == "" {
		return ""
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return "it is not a URL"
	case protocol == protocolGRPC:
		return "" // the exporter also takes the targets of gRPC
	case u.Scheme != "http" && u.Scheme != "https":
		return "it must begin with http:// or https://"
	case u.Host == "":
		return "it names no host"
	default:
		return ""
	}
}

// redacted is a URL without a password.
func redacted(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "…"
	}
	return u.Redacted()
}

func (s *settings) readSampler(get environment) {
	const defaultSampler = "parentbased_always_on"
	name := strings.ToLower(strings.TrimSpace(get("OTEL_TRACES_SAMPLER")))
	root, parent := strings.CutPrefix(name, "parentbased_")
	bound := uint64(everyTrace)
	switch root {
	case "always_on":
	case "always_off":
		bound = 0
	case "traceidratio":
		bound = boundOf(s.share(get))
	case "":
		name, parent = defaultSampler, true
	default:
		s.warn("OTEL_TRACES_SAMPLER", name, "there are always_on, always_off and traceidratio, "+
			"each with parentbased_ in front or not; "+defaultSampler+" is used")
		name, parent = defaultSampler, true
	}
	s.samplerName, s.sampler = name, sampler{parent: parent, bound: bound}
}

// share is the one that traceidratio records; 1 where it is not told.
func (s *settings) share(get environment) float64 {
	v := strings.TrimSpace(get("OTEL_TRACES_SAMPLER_ARG"))
	if v == "" {
		return 1
	}
	share, err := strconv.ParseFloat(v, 64)
	if err != nil || !(share >= 0 && share <= 1) {
		s.warn("OTEL_TRACES_SAMPLER_ARG", v, "it is a number from 0 to 1; 1 is used")
		return 1
	}
	return share
}

func (s *settings) readFormats(get environment) {
	list := words(get("OTEL_PROPAGATORS"))
	if len(list) == 0 {
		list = []string{"tracecontext", "baggage"}
	}
	for _, name := range list {
		switch name {
		case "tracecontext":
			s.formats = append(s.formats, w3c)
		case "b3":
			s.formats = append(s.formats, b3Single)
		case "b3multi":
			s.formats = append(s.formats, b3Multi)
		case "baggage": // it goes on as every other field does
		case "none":
			s.formats, s.formatNames = nil, []string{name}
			return
		default:
			s.warn("OTEL_PROPAGATORS", name, "there are tracecontext, baggage, b3, b3multi and none; ignored")
			continue
		}
		s.formatNames = append(s.formatNames, name)
	}
	if len(s.formatNames) == 0 {
		s.formatNames = []string{"none"}
	}
}

func (s *settings) readQueue(get environment) {
	s.queue = 2048
	const name = "OTEL_BSP_MAX_QUEUE_SIZE"
	if n, err := strconv.Atoi(strings.TrimSpace(get(name))); err == nil && n > 0 {
		s.queue = n
	}
	for _, name := range []string{
		name, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT",
	} {
		if v := strings.TrimSpace(get(name)); v != "" && !natural(v) {
			s.warn(name, v, "it is a whole number above 0; the default is used")
		}
	}
}

func natural(v string) bool {
	n, err := strconv.Atoi(v)
	return err == nil && n > 0
}

// checkExporter tells of what the exporter would pass over without a word.
func (s *settings) checkExporter(get environment) {
	if v, from := get.setting("TIMEOUT"); v != "" && !natural(v) {
		s.warn(from, v, "it is a whole number of milliseconds; the default is used")
	}
	if v, from := get.setting("COMPRESSION"); v != "" && v != "gzip" && v != "none" {
		s.warn(from, v, "there are gzip and none; none is used")
	}
}
