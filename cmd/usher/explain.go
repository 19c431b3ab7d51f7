package main

import (
	"context"
	"errors"
	"net/url"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/term"
	"usher/config"
)

// explainFlags are those of the explain command.
type explainFlags struct {
	question         api.Question
	headers          []string
	config, snapshot string
}

func (p *process) explainCommand() *cobra.Command {
	f := &explainFlags{}
	cmd := p.asking(&cobra.Command{
		Use: "explain URL", Short: "Say where a request would go, and why", Args: cobra.ExactArgs(1),
		Long: `Explain says what would become of a request: by which listener it comes in, which rules
were looked at, which won and why the others lost, whose rules they are, which endpoints
there are and how each stands, which of them would be chosen, what it would be asked, and
which timeouts, retries and limits apply. It is the code of the data plane that says so;
nothing is sent, and nothing counted.

It asks a running usher. With --config it reads a configuration instead, with what the
catalog files of its registries hold and what a snapshot says of the others.

A connection that is carried as a whole is asked for by tcp://:PORT or tls://NAME.`,
		Example: `  usher explain http://shop.example.com/orders/7
  usher explain -X POST -H 'X-Beta: 1' https://shop.example.com/orders
  usher explain http://127.0.0.1:8080/ -H 'Host: shop.example.com'
  usher explain tcp://:3306
  usher explain --config usher.yaml --snapshot /var/lib/usher http://shop.example.com/`,
	}, func(ctx context.Context, a *asker, args []string) error {
		q, err := f.ask(args[0])
		if err != nil {
			return err
		}
		return f.run(ctx, a, q)
	})
	fl := cmd.Flags()
	fl.StringVarP(&f.question.Method, "request", "X", "", "`METHOD` of the request (default GET)")
	fl.StringArrayVarP(&f.headers, "header", "H", nil,
		"`FIELD` of the request, Name: value; may be given several times")
	fl.StringVar(&f.question.Listener, "listener", "",
		"`NAME` of the listener that it comes in by; without, the URL's scheme and port say")
	fl.StringVar(&f.question.Client, "client", "", "`IP` that it comes from (default 127.0.0.1)")
	fl.StringVarP(&f.config, "config", "c", "", "explain by this configuration `FILE`, without a running usher")
	fl.StringVar(&f.snapshot, "snapshot", "",
		"with --config: `FILE` or folder of the snapshot (default: that of its state_dir)")
	return cmd
}

// ask makes the question.
func (f *explainFlags) ask(url string) (api.Question, error) {
	q := f.question
	q.URL = url
	for _, line := range f.headers {
		if err := q.AddHeader(line); err != nil {
			return q, err
		}
	}
	if f.snapshot != "" && f.config == "" {
		return q, errors.New("--snapshot goes with --config")
	}
	return q, nil
}

// run has the question answered, and prints the answer.
func (f *explainFlags) run(ctx context.Context, a *asker, q api.Question) (err error) {
	var e api.Explanation
	if f.config == "" {
		err = a.get(ctx, "/explain?"+queryOf(q).Encode(), &e)
	} else {
		e, err = f.offline(a, q)
	}
	switch {
	case err != nil:
		return err
	case a.json:
		return a.p.printJSON(e)
	default:
		return (&explanation{a.out, &e}).show()
	}
}

// offline explains by a file.
func (f *explainFlags) offline(a *asker, q api.Question) (api.Explanation, error) {
	opts := config.Options{Env: a.p.env}
	cfg, err := config.Load(f.config, opts)
	if err != nil {
		return api.Explanation{}, err
	}
	s, notes, err := offlineCatalog(cfg, opts, f.snapshot)
	if err != nil {
		return api.Explanation{}, err
	}
	for _, note := range notes {
		a.p.hint("note: %s", term.Clean(note))
	}
	return explainOffline(cfg, s, q)
}

// queryOf are the parameters of a question.
func queryOf(q api.Question) url.Values {
	values := url.Values{"url": {q.URL}}
	for name, value := range map[string]string{"method": q.Method, "listener": q.Listener, "client": q.Client} {
		if value != "" {
			values.Set(name, value)
		}
	}
	for name, list := range q.Headers {
		for _, value := range list {
			values.Add("header", name+": "+value)
		}
	}
	return values
}
