package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"text/template"
	"time"
)

// Check tells which of the programs are missing, with how to get them, and allows this
// process and its children so many descriptors.
func Check(descriptors int, programs ...string) error {
	// Debian's servers are where an ordinary user's PATH does not go.
	err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	missing := slices.DeleteFunc(programs, func(name string) bool {
		_, err := exec.LookPath(name)
		return err == nil
	})
	if len(missing) > 0 {
		names := strings.Join(missing, " ")
		err = errors.Join(err, fmt.Errorf("not installed: %s (apt install --no-install-recommends %[1]s)", names))
	}
	var limit syscall.Rlimit
	err = errors.Join(err, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur = uint64(descriptors); limit.Cur > limit.Max {
		return errors.Join(err, fmt.Errorf("%d descriptors are needed, ulimit -Hn says %d", limit.Cur, limit.Max))
	}
	// A limit set by hand is what children get too.
	return errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}

// BuildUsher builds usher from this module into a folder and returns where it is.
func BuildUsher(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "usher")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "usher/cmd/usher").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build usher: %w\n%s", err, out)
	}
	return path, nil
}

// Describe says when and where a run takes place: the first line that each command
// prints, and the load average. Ask before the run loads the machine itself.
func Describe(ctx context.Context, commands ...string) []string {
	all := []string{time.Now().UTC().Format(time.DateTime) + " UTC"}
	for _, command := range append([]string{"uname -srm"}, commands...) {
		f := strings.Fields(command)
		out, _ := exec.CommandContext(ctx, f[0], f[1:]...).CombinedOutput() // wrk tells its version and fails
		line, _, _ := strings.Cut(string(out), "\n")
		all = append(all, strings.TrimSpace(line))
	}
	average, _ := os.ReadFile("/proc/loadavg") // what is not there is not told
	fields := strings.Fields(string(average))
	return append(all, runtime.Version(), fmt.Sprintf("%d cores", runtime.NumCPU()),
		"load average before: "+strings.Join(fields[:min(3, len(fields))], " "))
}

// WriteConfigs fills in the templates in the folder conf of templates with data and writes
// them into dir.
func WriteConfigs(templates fs.FS, dir string, data any) error {
	all, err := template.ParseFS(templates, "conf/*")
	if err != nil {
		return fmt.Errorf("configurations: %w", err)
	}
	for _, t := range all.Templates() {
		var text strings.Builder
		if err := t.Execute(&text, data); err != nil {
			return fmt.Errorf("configurations: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, t.Name()), []byte(text.String()), 0o644); err != nil {
			return fmt.Errorf("configurations: %w", err)
		}
	}
	return nil
}

// Table prints rows, of which the first is the head. Their cells are separated by bars.
func Table(w io.Writer, rows []string, asMarkdown bool) error {
	if !asMarkdown {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range rows {
			fmt.Fprintln(t, strings.ReplaceAll(row, "|", "\t"))
		}
		return t.Flush()
	}
	for i, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.ReplaceAll(row, "|", " | "))
		if i == 0 {
			fmt.Fprintln(w, "|"+strings.Repeat("---|", strings.Count(row, "|")+1))
		}
	}
	return nil
}
