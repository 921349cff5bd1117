package fleet

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/cluster"
)

// provider is our cluster.ClusterProvider for a fleet of one: its view is itself.
type provider struct {
	views *views
	ready chan struct{}
}

// views holds the present view; it is replaced, never changed.
type views struct{ current atomic.Pointer[View] }

// Current is the view placement goes by now.
func (v *views) Current() *View { return v.current.Load() }

func newProvider() *provider {
	p := &provider{views: &views{}, ready: make(chan struct{})}
	p.views.current.Store(&View{})
	return p
}

// StartMember implements cluster.ClusterProvider.
func (p *provider) StartMember(c *cluster.Cluster) error {
	system := c.ActorSystem
	p.views.current.Store(&View{Epoch: 1, Members: []Member{{ID: system.ID, Address: system.Address()}}})
	host, port, err := system.GetHostPort()
	if err != nil {
		return err
	}
	c.MemberList.UpdateClusterTopology(cluster.Members{{Host: host, Port: int32(port), Id: system.ID, Kinds: c.GetClusterKinds()}})
	close(p.ready)
	return nil
}

// StartClient implements cluster.ClusterProvider. A broker is always a member.
func (p *provider) StartClient(*cluster.Cluster) error { return ErrStopped }

// Shutdown implements cluster.ClusterProvider.
func (p *provider) Shutdown(bool) error { return nil }
