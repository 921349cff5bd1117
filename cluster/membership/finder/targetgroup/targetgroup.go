// Package targetgroup finds brokers in the target group of a load balancer at AWS: every
// registered target, healthy or not, is a place where a broker may be.
//
// It needs the permissions elasticloadbalancing:DescribeTargetHealth and, for targets
// that are registered by instance, ec2:DescribeInstances. Credentials are found as the
// AWS SDK does: environment, files, the role of the container or of the instance.
package targetgroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
)

// Bounds of AWS's answers.
const (
	maxTargets = 500
	maxAnswer  = 8 << 20
	callTime   = 10 * time.Second
	slowest    = time.Minute // between attempts while AWS fails
)

// Config names the target group. ARN and Port are required.
type Config struct {
	ARN    string
	Region string // default: the ARN's
	Port   int    // the brokers' discovery port
	// Poll is the time between two looks. Default 15 s.
	Poll   time.Duration
	Logger *slog.Logger // default: nowhere
}

// Group is a target group and what is registered in it.
type Group struct {
	cfg       Config
	targets   *elb.Client
	instances *ec2.Client
	ready     chan struct{}
	life      context.Context
	end       context.CancelFunc
	work      sync.WaitGroup

	mu    sync.Mutex
	found []string
}

// Open begins to look. While AWS does not answer the last answer stands.
func Open(ctx context.Context, cfg Config) (*Group, error) {
	cfg.Poll = cmp.Or(cfg.Poll, 15*time.Second)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	name, err := arn.Parse(cfg.ARN)
	if err != nil || name.Service != "elasticloadbalancing" || !strings.HasPrefix(name.Resource, "targetgroup/") {
		return nil, fmt.Errorf("targetgroup: %.200q is not the ARN of a target group", cfg.ARN)
	}
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(cmp.Or(cfg.Region, name.Region)),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })))
	if err != nil {
		return nil, fmt.Errorf("targetgroup: configuration of the AWS SDK: %w", err)
	}
	loaded.HTTPClient = bounded{loaded.HTTPClient}
	g := &Group{cfg: cfg, targets: elb.NewFromConfig(loaded), instances: ec2.NewFromConfig(loaded), ready: make(chan struct{})}
	g.life, g.end = context.WithCancel(context.Background())
	g.work.Go(g.run)
	return g, nil
}

// bounded cuts off an answer that is too long.
type bounded struct{ aws.HTTPClient }

// Do implements aws.HTTPClient.
func (b bounded) Do(r *http.Request) (*http.Response, error) {
	response, err := b.HTTPClient.Do(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxAnswer), response.Body}
	}
	return response, err
}

// Close ends it.
func (g *Group) Close() {
	g.end()
	g.work.Wait()
}

// Candidates implements circle.Finder.
func (g *Group) Candidates() (addresses []string, complete bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.found, true
}

// Ready implements circle.Finder.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// run looks again and again.
func (g *Group) run() {
	known, failures := false, 0
	for g.life.Err() == nil {
		err := g.look()
		wait := g.cfg.Poll
		switch {
		case err == nil && failures > 0:
			g.cfg.Logger.Info("AWS tells the targets of the group again")
			failures = 0
		case err != nil && g.life.Err() == nil:
			if failures++; failures%10 == 1 {
				g.cfg.Logger.Warn("AWS does not tell the targets of the group; the last answer stands", "error", err, "attempt", failures)
			}
			wait = min(slowest, time.Second<<min(failures-1, 6))
		}
		if err == nil && !known {
			known = true
			close(g.ready)
		}
		timer := time.NewTimer(wait*4/5 + rand.N(wait*2/5)) // brokers do not ask all at once
		select {
		case <-timer.C:
		case <-g.life.Done():
			timer.Stop()
		}
	}
}

// look asks AWS once.
func (g *Group) look() error {
	ctx, cancel := context.WithTimeout(g.life, callTime)
	defer cancel()
	health, err := g.targets.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: aws.String(g.cfg.ARN)})
	if err != nil {
		return fmt.Errorf("targetgroup: %w", err)
	}
	var hosts, ids []string
	for _, d := range health.TargetHealthDescriptions {
		if d.Target == nil || len(hosts)+len(ids) >= maxTargets {
			continue
		}
		id := aws.ToString(d.Target.Id)
		if ip, err := netip.ParseAddr(id); err == nil {
			hosts = append(hosts, ip.String())
		} else if strings.HasPrefix(id, "i-") && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) > 0 {
		more, err := g.addresses(ctx, ids)
		if err != nil {
			return err
		}
		hosts = append(hosts, more...)
	}
	if len(hosts) == 0 {
		return errors.New("targetgroup: no target is registered, not even this broker")
	}
	slices.Sort(hosts)
	var found []string
	for _, h := range slices.Compact(hosts) {
		found = append(found, net.JoinHostPort(h, strconv.Itoa(g.cfg.Port)))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.found = found
	return nil
}

// addresses are the private ones of instances. One that was terminated has none.
func (g *Group) addresses(ctx context.Context, ids []string) ([]string, error) {
	var hosts []string
	pages := ec2.NewDescribeInstancesPaginator(g.instances, &ec2.DescribeInstancesInput{InstanceIds: ids})
	for pages.HasMorePages() && len(hosts) < maxTargets {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("targetgroup: %w", err)
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				if ip, err := netip.ParseAddr(aws.ToString(i.PrivateIpAddress)); err == nil {
					hosts = append(hosts, ip.String())
				}
			}
		}
	}
	return hosts, nil
}
