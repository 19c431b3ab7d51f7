package healthcheck

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// askGRPC calls the health service of gRPC (grpc.health.v1) on a connection of its own,
// by h2c or TLS.
func (a *asker) askGRPC(ctx context.Context, t *target) error {
	security := insecure.NewCredentials()
	if t.tls != nil {
		cfg, err := a.configOf(t.tls)
		if err != nil {
			return err
		}
		security = credentials.NewTLS(cfg)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(security), grpc.WithUserAgent("usher-health"), grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return t.dial(ctx)
		}),
	}
	if t.check.Host != "" && t.tls == nil {
		opts = append(opts, grpc.WithAuthority(t.check.Host))
	}
	cc, err := grpc.NewClient("passthrough:///"+t.address(), opts...)
	if err != nil {
		return fmt.Errorf("gRPC: %w", err)
	}
	defer func() { _ = cc.Close() }() // the answer is there, or will not come
	resp, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{Service: t.check.Service})
	if err != nil {
		return fmt.Errorf("gRPC: %s: %s", status.Code(err), status.Convert(err).Message())
	}
	if resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC: it says %s", resp.GetStatus())
	}
	return nil
}
