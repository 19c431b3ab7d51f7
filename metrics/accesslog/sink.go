package accesslog

import (
	"bytes"
	"errors"
	"os"
)

// newSink returns the output of a configuration.
func newSink(o *Options) (sink, error) {
	switch c := o.Config; {
	case c.Output == "stdout":
		return newStream(o.Stdout)
	case c.Output == "stderr":
		return newStream(o.Stderr)
	case c.Syslog():
		return newSyslog(o)
	default:
		return openFile(c.Output)
	}
}

// errStuck is an output that takes no more for the time being.
var errStuck = errors.New("the output takes no more: its reader does not keep up")

// lines is the length of the whole lines at the front of b.
func lines(b []byte) int { return bytes.LastIndexByte(b, '\n') + 1 }

// isRegular says whether f is a file on a disk.
func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}
