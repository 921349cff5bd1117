// Package fingerprint finds out what the host is: one file per fact. Every look is
// bounded in time and size; what cannot be found out is left empty, never guessed.
package fingerprint

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"opensessionmanager/messages"
)

// patience bounds every single look.
const patience = 5 * time.Second

// Config says how to look.
type Config struct {
	// PreferredInterface names the network interface whose address is the
	// host's; "" or one that does not exist means the first one that is not loopback.
	PreferredInterface string
	// Tags are given out as they are; see ReadTags.
	Tags map[string]string
	// HideUsers reports "unknown" in place of each logged-in user's name.
	HideUsers bool
	// Metadata asks the cloud who this machine is; nil means not to ask.
	Metadata func(context.Context) (*Instance, error)
	Logger   *slog.Logger
}

// Collector implements agent.Host. It is safe for concurrent use.
type Collector struct {
	cfg Config

	mu       sync.Mutex
	lasting  *messages.ServerFacts // found out once: system, processors, graphics
	cloud    *Instance
	askCloud int // how often the cloud may still be asked
	latest   *messages.ServerFacts
}

// cloudTries bounds how often the metadata service of a cloud machine is asked;
// right after boot it may not answer yet.
const cloudTries = 10

// New returns a collector that has not looked yet.
func New(cfg Config) *Collector {
	c := &Collector{cfg: cfg, askCloud: 1}
	if cfg.Metadata == nil {
		c.askCloud = 0
	} else if soldByAmazon() {
		c.askCloud = cloudTries
	}
	return c
}

// Facts returns what the host is. The result is shared: it must not be changed,
// and the same pointer means that nothing changed. The first call takes longest.
func (c *Collector) Facts(ctx context.Context) *messages.ServerFacts {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lasting == nil {
		c.lasting = &messages.ServerFacts{
			Os:   system(ctx),
			Cpu:  processors(ctx),
			Gpus: graphics(ctx),
			Tags: c.cfg.Tags,
		}
	}
	c.lookAtCloud(ctx)
	facts := proto.CloneOf(c.lasting)
	facts.Hostname = hostname()
	facts.Ip, facts.Addresses = addresses(c.cfg.PreferredInterface)
	facts.DefaultDnsName = facts.Hostname
	facts.MemoryTotalBytes, _, facts.SwapTotalBytes, _ = memory(ctx)
	if c.cloud != nil {
		facts.Aws = c.cloud.Aws
		if c.cloud.PrivateDNS != "" {
			facts.DefaultDnsName = c.cloud.PrivateDNS
		}
	}
	if c.latest == nil || !proto.Equal(c.latest, facts) {
		c.latest = facts
	}
	return c.latest
}

// lookAtCloud needs c.mu.
func (c *Collector) lookAtCloud(ctx context.Context) {
	if c.cloud != nil || c.askCloud == 0 {
		return
	}
	c.askCloud--
	instance, err := c.cfg.Metadata(ctx)
	if err != nil {
		c.cfg.Logger.Debug("No answer of the EC2 metadata service", "error", err, "tries_left", c.askCloud)
		return
	}
	c.cloud = instance
}

// Load returns how busy the host is now.
func (c *Collector) Load(ctx context.Context) *messages.ServerLoad {
	load := &messages.ServerLoad{LoggedInUsers: loggedIn(ctx, c.cfg.HideUsers)}
	_, load.MemoryUsedBytes, _, load.SwapUsedBytes = memory(ctx)
	load.LoadOneMinute, load.LoadFiveMinutes, load.LoadFifteenMinutes = average(ctx)
	return load
}

// clean makes text of the system fit for the agent protocol: valid, not long.
func clean(s string) string {
	const longest = 256
	return strings.TrimSpace(strings.ToValidUTF8(s[:min(len(s), longest)], ""))
}
